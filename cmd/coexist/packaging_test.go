package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The unit runs as a user that is there before the service is: keys can be given to it. A dynamic user can own no file in /etc.
func TestUnitRunsAsAUserThatCanBeGivenKeys(t *testing.T) {
	unit := packaged(t, "coexist.service")
	for _, key := range []string{"User", "Group"} {
		if got := unit[key]; len(got) != 1 || got[0] != "coexist" {
			t.Errorf("%s=%q, want coexist", key, got)
		}
	}
	if got := unit["DynamicUser"]; got != nil {
		t.Errorf("DynamicUser=%q: its number is not known before the start", got)
	}
	data, err := os.ReadFile(filepath.Join("..", "..", "packaging", "coexist.sysusers"))
	if err != nil {
		t.Fatal(err)
	}
	// "u NAME ID" makes the user and a group of the same name (sysusers.d(5)).
	if !strings.Contains("\n"+string(data), "\nu coexist - ") {
		t.Errorf("no user coexist in\n%s", data)
	}
}

// What the unit starts is a command of this program.
func TestUnitStartsServe(t *testing.T) {
	unit := packaged(t, "coexist.service")
	if got, want := strings.Join(unit["ExecStart"], ";"), "/usr/bin/coexist serve --config /etc/coexist/coexist.toml"; got != want {
		t.Errorf("ExecStart=%s, want %s", got, want)
	}
	if got := unit["RestartPreventExitStatus"]; len(got) != 1 || got[0] != "2" {
		t.Errorf("RestartPreventExitStatus=%q, want 2: a configuration that cannot be used", got)
	}
}

// packaged are the settings of a unit file of packaging.
func packaged(t *testing.T, name string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "packaging", name))
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = append(settings[key], value)
		}
	}
	return settings
}
