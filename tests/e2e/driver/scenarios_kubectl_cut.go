// kubectl on a node that is cut off: what it read before it can read again, what it writes is refused, and its open watches last.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const kubectlHome = "kubectl-cut"

// reading is a command that only reads. What it prints while the line is cut is what it printed before; of a table, the names.
type reading struct {
	args  string
	table bool
	bare  bool // tried also by a kubectl that has not kept what kinds there are
}

var readings = []reading{
	{"get configmaps -o json", false, true},
	{"get configmaps -o yaml", false, false},
	{"get configmaps -o name", false, false},
	{"get configmaps", true, true},
	{"get configmap one -o json", false, false},
	{"get configmap one", true, false},
	{"get configmaps -l third=1 -o name", false, false},
	{"get widgets -o json", false, true},
	{"get widgets", true, false},
	{"get pods -o wide", true, false},
	{"get pods,services,secrets -o name", false, true},
	{"get nodes -o json", false, false},
}

// run is one kubectl command in the scenario's namespace, with a folder for what kubectl itself keeps.
func (s *scene) run(kept, input, args string) (string, error) {
	words := append([]string{"-n", kubectlHome, "--cache-dir", filepath.Join(s.agent.dir, kept)}, strings.Fields(args)...)
	return s.kubectl(20*time.Second, input, words...)
}

// names are the first words of a table's rows.
func names(table string) []string {
	var all []string
	for n, row := range strings.Split(strings.TrimSpace(table), "\n") {
		if words := strings.Fields(row); n > 0 && len(words) > 0 {
			all = append(all, words[0])
		}
	}
	return all
}

// head is a table's first row.
func head(table string) []string {
	row, _, _ := strings.Cut(table, "\n")
	return strings.Fields(row)
}

// reads runs every reading and compares with what was printed online.
func (s *scene) reads(kept, when string, online map[string]string) {
	for _, r := range readings {
		if kept != "kubectl" && !r.bare {
			continue
		}
		began := time.Now()
		out, err := s.run(kept, "", r.args)
		took := time.Since(began)
		why := whyNot(err)
		switch want := online[r.args]; {
		case err != nil:
		case r.table && !slices.Equal(names(out), names(want)) || !r.table && out != want:
			why = fmt.Sprintf("printed %q, before %q", out, want)
		case r.table && strings.Join(head(out), " ") != strings.Join(head(want), " "):
			s.note("kubectl %s %s has the columns %s, before %s", r.args, when, head(out), head(want))
		}
		if why == "" && took > firstWait+2*time.Second {
			why = fmt.Sprintf("took %s", took.Round(time.Millisecond))
		}
		s.check("kubectl "+r.args+" "+when, why)
	}
}

// refused are commands that must fail with the agent's own 503: what writes, and what asks for events, which are not kept.
func (s *scene) refused(when string) {
	body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{"turn":"while-cut"}}`
	for _, c := range []struct{ args, input string }{
		{"create --validate=false -f -", fmt.Sprintf(body, "never-made")},
		{"apply --validate=false -f -", fmt.Sprintf(body, "two")},
		{"label configmap one marked=while-cut", ""},
		{"delete configmap one --wait=false", ""},
		{"describe configmap one", ""},
	} {
		out, err := s.run("kubectl", c.input, c.args)
		why := ""
		if err == nil || !strings.Contains(err.Error(), "the line to the API server is down") {
			why = fmt.Sprintf("expected a refusal that says that the line is down, got %q, %v", out, err)
		}
		s.check("kubectl "+c.args+" "+when, why)
	}
	out, err := s.run("kubectl", "", "get jobs.batch")
	why := ""
	if err == nil || strings.Contains(err.Error(), "NotFound") {
		why = fmt.Sprintf("expected a failure that is not NotFound, got %q, %v", out, err)
	}
	s.check("kubectl get of a kind never known "+when, why)
	out, err = s.run("kubectl", "", "get configmap nowhere")
	if why = ""; err == nil || !strings.Contains(err.Error(), "NotFound") {
		why = fmt.Sprintf("expected NotFound, got %q, %v", out, err)
	}
	s.check("kubectl get of a name that is in no known collection "+when, why)
}

// follower is a kubectl that goes on printing until it is stopped.
type follower struct {
	args string
	mu   sync.Mutex
	out  bytes.Buffer
	bad  bytes.Buffer
	done chan error
	end  context.CancelFunc
}

// Write takes what kubectl prints.
func (f *follower) Write(text []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.out.Write(text)
}

func (s *scene) follow(args string) *follower {
	ctx, cancel := context.WithCancel(s.ctx)
	f := &follower{args: args, done: make(chan error, 1), end: cancel}
	words := append([]string{"--server", s.agent.door.base, "--cache-dir", filepath.Join(s.agent.dir, "kubectl"), "-n", kubectlHome}, strings.Fields(args)...)
	command := exec.CommandContext(ctx, "kubectl", words...)
	command.Env = append(os.Environ(), "KUBECONFIG="+os.DevNull)
	command.Stdout, command.Stderr = f, &f.bad
	if err := command.Start(); err != nil {
		stop("kubectl: %v", err)
	}
	go func() { f.done <- command.Wait() }()
	return f
}

// says complains unless the name comes exactly so often at the start of the lines printed, and kubectl still runs.
func (f *follower) says(name string, times int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, line := range strings.Split(f.out.String(), "\n") {
		if words := strings.Fields(line); len(words) > 0 && strings.TrimPrefix(words[0], "configmap/") == name {
			n++
		}
	}
	select {
	case err := <-f.done:
		f.done <- err
		return fmt.Sprintf("kubectl %s ended: %v: %s; it had printed %q", f.args, err, f.bad.String(), f.out.String())
	default:
	}
	if n != times {
		return fmt.Sprintf("%s was printed %d times instead of %d: %q", name, n, times, f.out.String())
	}
	return ""
}

func kubectlCut(s *scene) {
	if err := s.cloud.namespace(s.ctx, kubectlHome); err != nil {
		stop("%v", err)
	}
	for _, k := range kinds {
		for n, name := range []string{"one", "two", "three", hidden + "four"} {
			if !k.namespaced {
				name += "-of-" + kubectlHome
			}
			s.writer.createAs(s.ctx, k, kubectlHome, name, n)
		}
	}
	// Reading online is all that the agent is warmed up by.
	online := map[string]string{}
	for _, r := range readings {
		out, err := s.run("kubectl", "", r.args)
		why := whyNot(err)
		if err == nil && (out == "" || strings.Contains(out, hidden)) {
			why = fmt.Sprintf("printed %q", out)
		}
		if !s.check("kubectl "+r.args+" online", why) {
			return
		}
		online[r.args] = out
	}
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal([]byte(online["get configmaps -o json"]), &list); err != nil || len(list.Items) != 3 {
		s.check("kubectl get -o json prints three config maps", fmt.Sprintf("%d items, %v", len(list.Items), err))
		return
	}
	for n, how := range []mode{refuse, drop} {
		followers := s.followers()
		s.line.set(how)
		when := fmt.Sprintf("while cut (%s)", how)
		s.reads("kubectl", when, online)
		s.reads(fmt.Sprintf("empty-%d", n), when+", kubectl knowing nothing", online)
		s.refused(when)
		missed := fmt.Sprintf("missed-%d", n)
		s.writer.createAs(s.ctx, kinds[0], kubectlHome, missed, 1)
		s.line.set(pass)
		_, why := s.connected(30 * time.Second)
		s.check("the line is used again after "+string(how), why)
		for _, f := range followers {
			s.check("kubectl "+f.args+" prints what it missed "+when, within(8*time.Second, func() string { return f.says(missed, 1) }))
		}
		for _, f := range followers {
			f.end()
			<-f.done
		}
		s.writer.remove(s.ctx, kinds[0], kubectlHome, missed)
		s.rewarm(fmt.Sprintf("after the return (%s)", how), online)
	}
	s.line.set(refuse)
	if _, err := s.agent.restart(); !s.check("the agent starts offline", whyNot(err)) {
		return
	}
	s.reads("kubectl", "after an offline start", online)
	s.reads("empty-boot", "after an offline start, kubectl knowing nothing", online)
	s.refused("after an offline start")
	s.line.set(pass)
	_, why := s.connected(30 * time.Second)
	s.check("the line is used again after an offline start", why)
	s.rewarm("after an offline start and the return", online)
	s.untouched()
}

// followers starts watching kubectls, which ask for plain objects and for tables, and sees that they print what happens.
func (s *scene) followers() []*follower {
	all := []*follower{s.follow("get configmaps --watch-only -o name"), s.follow("get configmaps --watch-only")}
	time.Sleep(1500 * time.Millisecond)
	s.writer.createAs(s.ctx, kinds[0], kubectlHome, "seen", 1)
	for _, f := range all {
		s.check("kubectl "+f.args+" prints a change", within(5*time.Second, func() string { return f.says("seen", 1) }))
	}
	s.writer.remove(s.ctx, kinds[0], kubectlHome, "seen")
	for _, f := range all {
		s.check("kubectl "+f.args+" prints a deletion", within(5*time.Second, func() string { return f.says("seen", 2) }))
	}
	return all
}

// rewarm reads once more online, after the objects are again what they were, and applies.
func (s *scene) rewarm(when string, online map[string]string) {
	s.reads("kubectl", when, online)
	applied := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"},"data":{"turn":"%d"}}`
	for n, want := range []string{"configmap/applied created", "configmap/applied configured", "configmap/applied unchanged"} {
		out, err := s.run("kubectl", fmt.Sprintf(applied, min(n, 1)), "apply -f -")
		why := whyNot(err)
		if err == nil && strings.TrimSpace(out) != want {
			why = fmt.Sprintf("printed %q, expected %q", out, want)
		}
		s.check("kubectl apply "+when+": "+want, why)
	}
	out, err := s.run("kubectl", "", "delete configmap applied")
	why := whyNot(err)
	if err == nil && !strings.Contains(out, `"applied" deleted`) {
		why = fmt.Sprintf("printed %q", out)
	}
	s.check("kubectl delete "+when, why)
}

// untouched: nothing of what was refused while cut off has come to the server.
func (s *scene) untouched() {
	why := ""
	there := s.server.mustList(s.ctx, kinds[0].in(kubectlHome))
	if _, made := there.objects[kubectlHome+"/never-made"]; made {
		why = "never-made is there"
	}
	for _, name := range []string{"one", "two"} {
		if o, ok := there.objects[kubectlHome+"/"+name]; !ok || strings.Contains(o.content, "while-cut") {
			why = fmt.Sprintf("%s: %v", name, o)
		}
	}
	s.check("nothing that was refused while cut off came to the server", why)
}
