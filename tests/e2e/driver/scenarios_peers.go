// Clients in other languages behind the agent: the Python client and kube-rs, across cuts and an offline start.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// species is how a client of another language is started on a kind in a namespace.
type species struct {
	name string
	kind kind
	args func(base, namespace string) (program string, args []string)
}

// widgets are the custom resource of every run.
func widgets() kind { return kinds[len(kinds)-1] }

// python needs the interpreter that the client is installed for, and the run's folder as the working folder.
func python(s *scene) {
	program := os.Getenv("E2E_PYTHON")
	if !s.check("the Python client is installed", there(program)) {
		return
	}
	var all []species
	for _, k := range []kind{kinds[0], widgets()} {
		all = append(all, species{"the Python client", k, func(base, namespace string) (string, []string) {
			return program, []string{filepath.Join("python", "watch.py"), base, namespace, k.plural}
		}})
	}
	s.foreign("python", all)
}

// kubeRs lists and watches, and has the first state streamed.
func kubeRs(s *scene) {
	program := os.Getenv("E2E_KUBE_RS")
	if !s.check("the kube-rs client is built", there(program)) {
		return
	}
	var all []species
	for _, way := range []string{"list", "stream"} {
		all = append(all, species{"kube-rs (" + way + ")", kinds[0], func(base, namespace string) (string, []string) {
			return program, []string{base, namespace, way}
		}})
	}
	s.foreign("kube-rs", all)
}

func there(program string) string {
	if program == "" {
		return "nobody says where it is"
	}
	_, err := os.Stat(program)
	return whyNot(err)
}

// foreign plays the scenario with clients of some species.
func (s *scene) foreign(namespace string, all []species) {
	if err := s.cloud.namespace(s.ctx, namespace); err != nil {
		stop("%v", err)
	}
	truth := map[string]*recorder{}
	for _, of := range all {
		k := of.kind
		if truth[k.plural] != nil {
			continue
		}
		s.populate(k, namespace)
		var err error
		if truth[k.plural], err = record(s.ctx, s.server, k.in(namespace)); err != nil {
			stop("%v", err)
		}
	}
	begin := func() (peers []*peer) {
		for _, of := range all {
			program, args := of.args(s.agent.door.base, namespace)
			peers = append(peers, startPeer(s.ctx, of.name, of.kind, program, args...))
		}
		return peers
	}
	round := 0
	stir := func() {
		round++
		for plural := range truth {
			s.stir(kindOf(plural), namespace, round)
		}
	}
	f := &foreigners{s, namespace, truth}

	old := begin()
	defer f.end(old)
	if !f.hold(old, "online", 20*time.Second) {
		return
	}
	time.Sleep(500 * time.Millisecond)
	stir()
	f.told(old, "online", true)

	for _, how := range []mode{refuse, drop} {
		s.line.set(how)
		young := begin()
		f.hold(young, fmt.Sprintf("started while cut (%s)", how), 20*time.Second)
		stir()
		s.line.set(pass)
		back, why := s.connected(30 * time.Second)
		s.check(fmt.Sprintf("the line is used again (%s)", how), why)
		began := time.Now()
		f.told(old, fmt.Sprintf("after a cut (%s)", how), true)
		s.note("the line is used again after %s, the last client is up to date %.1f s later", back.Round(time.Millisecond), time.Since(began).Seconds())
		f.told(young, fmt.Sprintf("started while cut (%s)", how), false)
		for _, p := range append(young, old...) {
			s.check(fmt.Sprintf("a cut (%s) does not disturb %s of %s", how, p.name, p.kind.plural), p.disturbed())
		}
		f.end(young)
	}

	s.line.set(refuse)
	if _, err := s.agent.restart(); !s.check("the agent starts offline", whyNot(err)) {
		return
	}
	young := begin()
	defer f.end(young)
	f.hold(young, "started after an offline start", 20*time.Second)
	stir()
	s.line.set(pass)
	_, why := s.connected(30 * time.Second)
	s.check("the line is used again after an offline start", why)
	f.told(old, "after an offline start", false)
	f.told(young, "started after an offline start", false)
	for _, p := range append(young, old...) {
		why := ""
		if p.filled != 1 {
			why = fmt.Sprintf("it was told a whole collection %d times: %s", p.filled, few(p.errors))
		}
		if p.gone > 0 {
			s.note("%s of %s was told %d deletions of objects that it did not know", p.name, p.kind.plural, p.gone)
		}
		s.check(fmt.Sprintf("%s of %s goes on after an offline start without a new list", p.name, p.kind.plural), why)
	}
}

// foreigners judges what clients hold and were told.
type foreigners struct {
	*scene
	namespace string
	truth     map[string]*recorder
}

func (f *foreigners) end(peers []*peer) {
	for _, p := range peers {
		p.stop()
	}
}

// hold waits until each client holds what the server has.
func (f *foreigners) hold(peers []*peer, when string, limit time.Duration) bool {
	good := true
	for _, p := range peers {
		want := f.server.mustList(f.ctx, p.kind.in(f.namespace)).seen()
		good = f.check(fmt.Sprintf("%s of %s %s holds what the server has", p.name, p.kind.plural, when), within(limit, func() string { return p.has(want) })) && good
	}
	return good
}

// told waits until each client has been told the last event, and compares what it was told with the server's events.
func (f *foreigners) told(peers []*peer, when string, strict bool) {
	for plural, r := range f.truth {
		want := f.server.mustList(f.ctx, kindOf(plural).in(f.namespace)).seen()
		if why := within(10*time.Second, func() string { return differs(want, r.at(r.highest())) }); why != "" {
			stop("the server's own watch of %s: %s", plural, why)
		}
	}
	for _, p := range peers {
		server := &f.truth[p.kind.plural].trail
		of := fmt.Sprintf("%s of %s %s", p.name, p.kind.plural, when)
		f.check(of+" is told the last event", within(45*time.Second, func() string { return p.reached(server) }))
		if strict {
			f.check(of+" is told the server's events, one by one", p.against(server))
		} else {
			_, why := p.condensed(server)
			f.check(of+" is told the server's events", why)
		}
	}
	f.hold(peers, when+", at last,", 5*time.Second)
}
