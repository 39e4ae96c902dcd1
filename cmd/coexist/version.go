package main

import (
	"fmt"
	"runtime"

	"github.com/coexist-mail/coexist/gateway"
)

type versionCmd struct{}

// Run prints version and platform.
func (versionCmd) Run(s *streams) error {
	_, err := fmt.Fprintf(s.out, "coexist %s (%s, %s/%s)\n", gateway.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
