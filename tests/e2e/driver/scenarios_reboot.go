// The node loses its power while it is cut off: everything comes from flash, and only changes cross the line afterwards.
package main

import (
	"fmt"
	"time"
)

func reboot(s *scene) {
	if !s.watch() {
		return
	}
	if !s.check("watchers are up to date before the cut", s.settled(15*time.Second)) {
		return
	}
	s.line.set(refuse)
	known := s.known()
	if !s.boot() {
		return
	}
	s.offlineStart(known)

	// The line returns, and nothing was missed.
	mark := s.cloud.audit.mark()
	s.line.count()
	s.line.set(pass)
	back, why := s.connected(60 * time.Second)
	s.check("the line is used again after an offline boot", why)
	time.Sleep(3 * time.Second)
	up, down, connections := s.line.count()
	asked := s.cloud.audit.since(mark)
	s.note("line used again after %s; in 3 s more, nothing changed: %d bytes up, %d down, %d connections, %d requests (%d resumed watches)",
		back.Round(time.Millisecond), up, down, connections, len(asked), len(watches(asked)))
	s.check("no list crosses the line when nothing was missed", s.cloud.audit.noLists(mark, false))
	s.converges("after an offline boot that missed nothing", true, 60*time.Second)

	// Again, and this time objects change while the agent is down and while it is cut off.
	mark = s.cloud.audit.mark()
	s.line.set(refuse)
	known = s.known()
	s.agent.kill()
	s.writer.churn(s.ctx, 4)
	if _, err := s.agent.start(); !s.check("the agent starts offline, the second time", whyNot(err)) {
		return
	}
	s.writer.churn(s.ctx, 4)
	s.offlineLists("after the second boot", known)
	s.line.count()
	s.line.set(pass)
	back, why = s.connected(60 * time.Second)
	s.check("the line is used again after the second offline boot", why)
	s.converges("after an offline boot that missed changes", false, 60*time.Second)
	up, down, _ = s.line.count()
	s.note("line used again after %s; %d changes missed: %d bytes up, %d down", back.Round(time.Millisecond), 8*len(kinds), up, down)
	s.check("no list crosses the line when all that was missed is still in the server's history", s.cloud.audit.noLists(mark, false))
	s.lists()
}

// boot kills the agent, starts it offline, and times the first answer.
func (s *scene) boot() bool {
	began := time.Now()
	ready, err := s.agent.restart()
	if !s.check("the agent starts offline", whyNot(err)) {
		return false
	}
	a := s.agent.door.get(s.ctx, kinds[0].all())
	s.note("offline boot: listens after %s, first list answered %s after kill -9", ready.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	why := ""
	if a.status != 200 || a.err != nil {
		why = a.String()
	}
	s.check("the first list after an offline boot", why)
	return true
}

// offlineLists compares every kind with what was known, and the versions with those told before.
func (s *scene) offlineLists(when string, known map[string]listing) {
	var complaints []string
	for _, k := range kinds {
		for _, query := range []string{"", "?limit=500&resourceVersion=0"} {
			if _, why := s.askAtOnce(k.all()+query, known[k.plural]); why != "" {
				complaints = append(complaints, why)
			}
		}
	}
	s.check("lists "+when, few(complaints))
	s.versions(known)
}

// offlineStart checks lists, and informers that know nothing yet.
func (s *scene) offlineStart(known map[string]listing) {
	s.offlineLists("after an offline boot", known)
	s.narrower(known)
	s.refusals()
	fresh := startFleet(s.ctx, s.agent.door, lanes)
	defer fresh.stop()
	began := time.Now()
	s.check(fmt.Sprintf("%d new informers sync offline", len(fresh.informers)), fresh.synced(30*time.Second))
	s.note("new informers synced offline in %.1f s", time.Since(began).Seconds())
	fresh.converges(s.ctx, s.report, "stores of new informers offline", s.server, 5*time.Second)
}
