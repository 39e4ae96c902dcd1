package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coexist-mail/coexist/testdata"
)

func TestMain(m *testing.M) {
	// Most of what these tests do is to wait for processes, so that more of them at a time than there are processors do no harm. An
	// argument -test.parallel of the command line wins.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testscript.Main(suite{m}, map[string]func(){"coexist": main})
}

// suite removes the built programs when the tests have run.
type suite struct{ *testing.M }

func (s suite) Run() int {
	defer func() {
		if programs.dir != "" {
			os.RemoveAll(programs.dir)
		}
	}()
	return s.M.Run()
}

// programs are coexist and fakemta as they are shipped, without the race detector; built once for all tests.
var programs struct {
	once sync.Once
	dir  string
	err  error
}

// program is the path of a built program.
func program(t testing.TB, name string) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "coexist-programs-"); programs.err != nil {
			return
		}
		const module = "github.com/coexist-mail/coexist/cmd/"
		out, err := exec.Command("go", "build", "-o", programs.dir+string(filepath.Separator), module+"coexist", module+"fakemta").CombinedOutput()
		if err != nil {
			programs.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if programs.err != nil {
		t.Fatal(programs.err)
	}
	return filepath.Join(programs.dir, name)
}

// TestScripts runs the commands as a person types them: testdata/script/*.txtar. The scripts' own commands are in script_test.go. "exec" and
// "status" run the program as it is shipped, and "start" the test binary itself, so that the race detector watches the gateway.
func TestScripts(t *testing.T) {
	t.Parallel()
	fakemta, coexist := program(t, "fakemta"), program(t, "coexist")
	template, err := os.ReadFile("testdata/coexist.toml")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                scriptCommands(fakemta),
		Setup: func(e *testscript.Env) error {
			ip := nextIP()
			e.Setenv("IP", ip)
			for name, port := range ports {
				e.Setenv(name, fmt.Sprintf("%s:%d", ip, port))
			}
			e.Setenv("TZ", "UTC")
			e.Setenv("PATH", filepath.Dir(coexist)+string(filepath.ListSeparator)+e.Getenv("PATH"))
			config := os.Expand(string(template), func(name string) string { return e.Getenv(name) })
			for name, text := range map[string]string{"coexist.toml": config, "contoso.ldif": testdata.LDIF} {
				path := filepath.Join(e.WorkDir, name)
				if _, err := os.Stat(path); err == nil {
					continue // the script has its own
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					return err
				}
			}
			e.Values[processesKey{}] = &processes{byName: map[string]*process{}}
			return nil
		},
	})
}

// ports are those of a script's servers, as variables of the script. Every script has an address of its own.
var ports = map[string]int{"GW": 22525, "ADMIN": 28025, "ONPREM": 22526, "CLOUD": 22527, "INTERNET": 22528, "OTHER": 22529}

var ips struct {
	sync.Mutex
	n int
}

// nextIP is a loopback address that no other script uses, nor, most likely, another run of the tests on this machine.
func nextIP() string {
	ips.Lock()
	defer ips.Unlock()
	ips.n++
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 32+pid%200, pid/200%250, ips.n)
}

// TestEveryScriptCommandIsUsed keeps script_test.go free of what no script needs.
func TestEveryScriptCommandIsUsed(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString("\n" + string(b))
	}
	for name := range scriptCommands("") {
		if !strings.Contains(all.String(), "\n"+name+" ") && !strings.Contains(all.String(), "\n! "+name+" ") && !strings.Contains(all.String(), "\n"+name+"\n") {
			t.Errorf("no script uses the command %s", name)
		}
	}
}
