package outbound

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coexist-mail/coexist/gateway/message"
)

// TestChaos has two next hops that do anything at any time, and many senders. Whatever is reported must be true: what counts
// as delivered is at exactly one of them and there once; what counts as refused or deferred is nowhere, unless it is said to
// be uncertain.
func TestChaos(t *testing.T) {
	acts := []act{
		{reply: "421 4.3.2 not now", close: true}, {close: true}, {reply: "451 4.3.0 later"}, {reply: "550 5.7.1 no"},
		{reply: "550 5.7.1 no, and bye", close: true}, {reply: "gibberish"}, {reply: "250-half~", close: true},
	}
	const seed = 1
	for _, k := range peerKinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			dice := rand.New(rand.NewPCG(seed, 2))
			script := func(_ *peerConn, verb, _ string) *act {
				mu.Lock()
				defer mu.Unlock()
				if verb == "QUIT" || dice.IntN(25) != 0 {
					return nil
				}
				return &acts[dice.IntN(len(acts))]
			}
			first, second := newPeer(t, script), newPeer(t, script)
			first.ext, second.ext = k.ext, k.ext
			tr := transport(t, func(o *Options) {
				o.ConnectionsPerHop = 4
				o.Timeouts = Timeouts{Command: 5 * time.Second, DataEnd: 5 * time.Second, DataStart: 5 * time.Second}
			}, first.addr(), second.addr())

			reported := map[string]Result{} // by recipient: each has one message of its own
			var wg sync.WaitGroup
			for s := range 12 {
				wg.Go(func() {
					for i := range 25 {
						r := request(sample+strings.Repeat(".x\r\n", i*20), fmt.Sprintf("a-%d-%d@contoso.com", s, i))
						r.Recipients = append(r.Recipients, message.Recipient{Address: fmt.Sprintf("b-%d-%d@contoso.com", s, i)})
						results := deliver(t, tr, r)
						mu.Lock()
						for n, res := range results {
							reported[r.Recipients[n].Address] = res
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			checkChaos(t, reported, append(first.got(), second.got()...))
			for _, s := range tr.Stats() {
				if s.InUse != 0 || s.Waiting != 0 {
					t.Errorf("left over: %+v", s)
				}
			}
		})
	}
}

func checkChaos(t *testing.T, reported map[string]Result, taken []received) {
	t.Helper()
	times := map[string]int{}
	for _, m := range taken {
		for _, to := range m.to {
			times[strings.Trim(to, "TO:<>")]++
		}
		if !strings.HasPrefix(m.content, sample) {
			t.Errorf("content %q", head(m.content))
		}
	}
	tally := map[Outcome]int{}
	for to, r := range reported {
		tally[r.Outcome]++
		n := times[to]
		switch {
		case r.Outcome == Delivered && n == 1, r.Outcome != Delivered && n == 0, r.Uncertain && n == 1:
		default:
			t.Errorf("%s: %s, taken %d times: %v", to, r.Outcome, n, r.Reply)
		}
		if r.Reply == nil || outcomeOf(r.Reply.Code) != r.Outcome {
			t.Errorf("%s: %s with %v", to, r.Outcome, r.Reply)
		}
	}
	if tally[Delivered] < len(reported)/2 || tally[Refused] == 0 {
		t.Errorf("the test tests little: %v", tally)
	}
	t.Log(tally)
}
