package calendartest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A script gets a directory of .ics files as its argument and prints, as JSON, for each file name either an error or what it found: for
// each event UID and the instants of up to 50 instances in 2024 and on, as seconds since 1970.
const icalJS = `
const fs = require('fs'), path = require('path'), ICAL = require('ical.js').default || require('ical.js');
const out = {};
for (const f of fs.readdirSync(process.argv[2])) {
  try {
    const comp = new ICAL.Component(ICAL.parse(fs.readFileSync(path.join(process.argv[2], f), 'utf8')));
    for (const z of comp.getAllSubcomponents('vtimezone')) ICAL.TimezoneService.register(new ICAL.Timezone(z));
    const events = comp.getAllSubcomponents('vevent'), todos = comp.getAllSubcomponents('vtodo');
    const r = {events: events.length, todos: todos.length, uids: [], instances: []};
    for (const e of events.concat(todos)) r.uids.push(e.getFirstPropertyValue('uid'));
    const master = events.find(e => !e.getFirstProperty('recurrence-id'));
    if (master) {
      const ev = new ICAL.Event(master, {exceptions: events.filter(e => e.getFirstProperty('recurrence-id'))});
      if (ev.isRecurring()) {
        const it = ev.iterator();
        for (let n = 0, t; n < 50 && (t = it.next()); n++) r.instances.push(ev.getOccurrenceDetails(t).startDate.toUnixTime());
      } else if (ev.startDate) r.instances.push(ev.startDate.toUnixTime());
    }
    ICAL.TimezoneService.reset();
    out[f] = r;
  } catch (e) { out[f] = {error: String(e)}; }
}
console.log(JSON.stringify(out));
`

const nodeICal = `
const fs = require('fs'), path = require('path'), ical = require('node-ical');
const out = {};
for (const f of fs.readdirSync(process.argv[2])) {
  try {
    const data = ical.sync.parseICS(fs.readFileSync(path.join(process.argv[2], f), 'utf8'));
    const list = Object.values(data), r = {events: 0, todos: 0, uids: [], instances: []};
    for (const e of list) {
      if (e.type === 'VEVENT') { r.events += 1 + new Set(Object.values(e.recurrences || {})).size; r.uids.push(e.uid); }
      if (e.type === 'VTODO') { r.todos++; r.uids.push(e.uid); }
    }
    out[f] = r;
  } catch (e) { out[f] = {error: String(e)}; }
}
console.log(JSON.stringify(out));
`

const pyICalendar = `
import json, os, sys
import icalendar
out = {}
for f in os.listdir(sys.argv[1]):
    try:
        with open(os.path.join(sys.argv[1], f), 'rb') as h: cal = icalendar.Calendar.from_ical(h.read())
        r = {'events': 0, 'todos': 0, 'uids': [], 'instances': []}
        for c in cal.walk():
            if getattr(c, 'errors', None): raise ValueError(c.errors)
            if c.name == 'VEVENT': r['events'] += 1
            if c.name == 'VTODO': r['todos'] += 1
            if c.name == 'VTIMEZONE': c.to_tz()
            if c.name in ('VEVENT', 'VTODO'): r['uids'].append(str(c['UID']))
        out[f] = r
    except Exception as e: out[f] = {'error': repr(e)}
print(json.dumps(out))
`

const pyVObject = `
import json, os, sys
import vobject
out = {}
for f in os.listdir(sys.argv[1]):
    try:
        with open(os.path.join(sys.argv[1], f), encoding='utf-8', newline='') as h: cal = vobject.readOne(h.read())
        r = {'events': len(cal.contents.get('vevent', [])), 'todos': len(cal.contents.get('vtodo', [])), 'uids': [], 'instances': []}
        for c in cal.contents.get('vevent', []) + cal.contents.get('vtodo', []):
            r['uids'].append(c.uid.value)
            c.getrruleset(addRDate=True)
        out[f] = r
    except Exception as e: out[f] = {'error': repr(e)}
print(json.dumps(out))
`

const vcardJS = `
const fs = require('fs'), path = require('path'), ICAL = require('ical.js').default || require('ical.js');
const out = {};
for (const f of fs.readdirSync(process.argv[2])) {
  try {
    const c = new ICAL.Component(ICAL.parse(fs.readFileSync(path.join(process.argv[2], f), 'utf8')));
    out[f] = {name: c.getFirstPropertyValue('fn'), properties: c.getAllProperties().length};
  } catch (e) { out[f] = {error: String(e)}; }
}
console.log(JSON.stringify(out));
`

const vcardPy = `
import json, os, sys
import vobject
out = {}
for f in os.listdir(sys.argv[1]):
    try:
        with open(os.path.join(sys.argv[1], f), encoding='utf-8', newline='') as h: c = vobject.readOne(h.read())
        out[f] = {'name': c.fn.value, 'properties': len(list(c.getChildren()))}
    except Exception as e: out[f] = {'error': repr(e)}
print(json.dumps(out))
`

// parser is a program that reads iCalendar, of another project.
type parser struct {
	name, command, probe, script string
}

var parsers = []parser{
	{name: "ical.js", command: "node", probe: "require('ical.js')", script: icalJS},
	{name: "node-ical", command: "node", probe: "require('node-ical')", script: nodeICal},
	{name: "icalendar", command: "/usr/bin/python3", probe: "import icalendar", script: pyICalendar},
	{name: "vobject", command: "/usr/bin/python3", probe: "import vobject", script: pyVObject},
}

var cardParsers = []parser{
	{name: "ical.js", command: "node", probe: "require('ical.js')", script: vcardJS},
	{name: "vobject", command: "/usr/bin/python3", probe: "import vobject", script: vcardPy},
}

// Found is what a parser found in an object.
type Found struct {
	Error        string
	Events       int
	Todos        int
	UIDs         []string
	Instances    []int64 // only of ical.js: when the instances begin, at most 50
	HasInstances bool    `json:"-"`
	Name         string  // FN of a vCard
	Properties   int     // of a vCard
}

// Run gives objects, by name, to every parser that is installed, and calls check with what each found. It skips the test if there are fewer than
// two, and fails it instead when the environment says CI=true. Packages of npm are looked for in $NODE_PATH and in .tools/node_modules of
// a directory above; those of Python in Debian's.
func Run(t *testing.T, objects map[string][]byte, check func(t *testing.T, parser, name string, f Found)) {
	t.Helper()
	run(t, parsers, 2, objects, check)
}

// RunCards does the same with vCards, for which one parser is enough.
func RunCards(t *testing.T, objects map[string][]byte, check func(t *testing.T, parser, name string, f Found)) {
	t.Helper()
	run(t, cardParsers, 1, objects, check)
}

func run(t *testing.T, parsers []parser, atLeast int, objects map[string][]byte, check func(t *testing.T, parser, name string, f Found)) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range objects {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	for _, p := range parsers {
		if _, err := p.run(p.probe); err != nil {
			t.Logf("NOT RUN: %s is not installed", p.name)
			continue
		}
		ran++
		t.Run(p.name, func(t *testing.T) {
			out, err := p.run(p.script, dir)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var found map[string]Found
			if err := json.Unmarshal(out, &found); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if len(found) != len(objects) {
				t.Errorf("%d of %d objects read", len(found), len(objects))
			}
			for name, f := range found {
				f.HasInstances = p.name == "ical.js"
				if f.Error != "" {
					t.Errorf("%s: %s\n%s", name, f.Error, objects[name])
					continue
				}
				check(t, p.name, name, f)
			}
		})
	}
	if ran < atLeast {
		const text = "NOT RUN: too few parsers (npm: ical.js, node-ical; Debian: python3-icalendar, python3-vobject)"
		if os.Getenv("CI") == "true" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
}

func (p *parser) run(script string, args ...string) ([]byte, error) {
	file, err := os.CreateTemp("", "ics-*")
	if err != nil {
		return nil, fmt.Errorf("script for %s: %w", p.name, err)
	}
	defer os.Remove(file.Name())
	if _, err := file.WriteString(script); err != nil {
		return nil, fmt.Errorf("script for %s: %w", p.name, err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("script for %s: %w", p.name, err)
	}
	cmd := exec.Command(p.command, append([]string{file.Name()}, args...)...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+nodePath(), "TZ=UTC")
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w", p.name, err)
	}
	return out, nil
}

// nodePath adds the directory .tools/node_modules of the checkout to NODE_PATH.
func nodePath() string {
	list := os.Getenv("NODE_PATH")
	d, err := os.Getwd()
	for err == nil && d != filepath.Dir(d) {
		if m := filepath.Join(d, ".tools", "node_modules"); isDir(m) {
			return list + string(os.PathListSeparator) + m
		}
		d = filepath.Dir(d)
	}
	return list
}

func isDir(p string) bool {
	i, err := os.Stat(p)
	return err == nil && i.IsDir()
}
