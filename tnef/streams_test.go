package tnef_test

import (
	"bytes"
	"testing"

	"github.com/coexist-mail/coexist/tnef"
	"github.com/coexist-mail/coexist/tnef/tneftest"
)

func TestStreams(t *testing.T) {
	stream := (&tneftest.Stream{Class: "IPM.Note"}).Bytes()
	for _, tt := range []struct {
		name string
		data []byte
		want int
	}{
		{"a bare stream", stream, 1},
		{"in a message", tneftest.Wrap("Subject: x\r\n", "text\r\n", stream), 1},
		{"the whole body", tneftest.Whole("Subject: x\r\n", stream), 1},
		{"two of them", tneftest.Mixed("Subject: x\r\n", tneftest.Part(stream), tneftest.Part(stream)), 2},
		{"none", []byte("Subject: x\r\n\r\nbody\r\n"), 0},
		{"nothing", nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tnef.Streams(tt.data, nil)
			if err != nil || len(got) != tt.want {
				t.Fatalf("%d streams, %v, want %d", len(got), err, tt.want)
			}
			for _, s := range got {
				if !bytes.Equal(s, stream) {
					t.Error("the stream is not what was put in")
				}
			}
		})
	}
}
