// The line is cut, in one of three ways, with clients attached, and comes back.
package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	clients   = 5               // that ask at once
	firstWait = 5 * time.Second // the longest that the first answer after a cut may take
	laterWait = 50 * time.Millisecond
)

func cutOff(s *scene, how mode) {
	if !s.watch() {
		return
	}
	if !s.check("watchers are up to date before the cut", s.settled(15*time.Second)) {
		return
	}
	began, mark := s.fleet.lists(), s.cloud.audit.mark()
	var first []time.Duration
	var wrong, late []string
	for n, k := range kinds {
		known := s.known()
		s.line.set(how)
		took, why := s.askAtOnce(k.all(), known[k.plural])
		first = append(first, slices.Max(took))
		if why != "" {
			wrong = append(wrong, fmt.Sprintf("cut %d, %s", n+1, why))
		}
		if n == len(kinds)-1 {
			s.whileCut(known)
		}
		s.writer.churn(s.ctx, 2)
		s.line.set(pass)
		back, why := s.connected(30 * time.Second)
		if why == "" {
			why = s.settled(30 * time.Second)
		}
		if why != "" {
			late = append(late, fmt.Sprintf("cut %d: %s", n+1, why))
		}
		s.note("cut %d: first lists of %s in %s at most; line used again after %s", n+1, k.plural, first[n].Round(time.Millisecond), back.Round(time.Millisecond))
	}
	s.check(fmt.Sprintf("first lists after %d cuts are right, 200 and within %s", len(kinds), firstWait), few(wrong))
	s.check("what was missed arrives when the line is back", few(late))
	s.check("no list crosses the line, nothing forcing one", s.cloud.audit.noLists(mark, false))
	s.check("no informer lists again", s.fleet.again(began))
	s.converges("after the cuts", true, 30*time.Second)
	s.lists()
}

// known is what the agent has been told of every kind: the server's state, all watchers being up to date.
func (s *scene) known() map[string]listing {
	all := map[string]listing{}
	for _, k := range kinds {
		all[k.plural] = s.server.mustList(s.ctx, k.all()).seen()
	}
	return all
}

// askAtOnce sends the same list from several clients, and complains of each answer that is not the right one in time.
func (s *scene) askAtOnce(target string, want listing) ([]time.Duration, string) {
	answers := make([]answer, clients)
	var all sync.WaitGroup
	for n := range answers {
		all.Go(func() { answers[n] = s.agent.door.get(s.ctx, target) })
	}
	all.Wait()
	var took []time.Duration
	var complaints []string
	for _, a := range answers {
		took = append(took, a.took)
		got, err := a.listing()
		why := whyNot(err)
		if err == nil {
			why = differs(want, got)
		}
		if a.took > firstWait {
			why += fmt.Sprintf(" (took %s)", a.took.Round(time.Millisecond))
		}
		if why != "" {
			complaints = append(complaints, target+": "+why)
		}
	}
	return took, few(complaints)
}

// whileCut checks all that the agent must answer by itself.
func (s *scene) whileCut(known map[string]listing) {
	var wrong []string
	var took []time.Duration
	for range 3 {
		for _, k := range kinds {
			for _, query := range []string{"", "?limit=500&resourceVersion=0"} {
				t, why := s.askAtOnce(k.all()+query, known[k.plural])
				took = append(took, t...)
				if why != "" {
					wrong = append(wrong, why)
				}
			}
		}
	}
	s.check("later lists while cut", few(wrong))
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	s.note("%d later lists: median %s, longest %s", len(took), median.Round(10*time.Microsecond), worst.Round(10*time.Microsecond))
	why := ""
	if median > laterWait {
		why = fmt.Sprintf("median %s, longest %s", median, worst)
	}
	s.check(fmt.Sprintf("later lists take %s in the median at most", laterWait), why)
	s.narrower(known)
	s.versions(known)
	s.refusals()
	s.check("new watches open while cut, at the version told", s.opens())
}

// narrower asks for parts of what is mirrored: by label, by name, by namespace, and single objects.
func (s *scene) narrower(known map[string]listing) {
	var byLabel, byName, single []string
	for _, k := range kinds {
		all := known[k.plural]
		ask := func(to *[]string, target string, want listing) {
			if _, why := s.askAtOnce(target, want); why != "" {
				*to = append(*to, why)
			}
		}
		third := "?labelSelector=third%3D1%2Cmade-by%3De2e"
		ask(&byLabel, k.in(home)+third, s.server.mustList(s.ctx, k.in(home)+third).seen())
		name := s.writer.visible(k)
		exact := "?fieldSelector=metadata.name%3D" + name
		ask(&byName, k.in(home)+exact, s.server.mustList(s.ctx, k.in(home)+exact))
		if k.namespaced {
			ask(&byName, k.in(home), all.only(home))
		}
		a := s.agent.door.get(s.ctx, k.in(home)+"/"+name)
		key, o, err := plain(a.body)
		if a.status != 200 || err != nil || o != all.objects[key] {
			single = append(single, fmt.Sprintf("%s (%v)", a, err))
		}
	}
	s.check("label-selected lists from the broader mirror", few(byLabel))
	s.check("lists by name and by namespace from the broader mirror", few(byName))
	s.check("single objects", few(single))
}

// versions checks that no list tells a lower version than was told before.
func (s *scene) versions(known map[string]listing) {
	var complaints []string
	for _, k := range kinds {
		got, err := s.agent.door.list(s.ctx, k.all())
		if told := s.told[k.plural].highest(); err == nil && got.version < told {
			complaints = append(complaints, fmt.Sprintf("list of %s at %d, a watch was told %d before", k.plural, got.version, told))
		}
	}
	s.check("lists are not older than what was told before", few(complaints))
}

// refusals: what was never known and what would change something is 503, as a Status.
func (s *scene) refusals() {
	d, maps := s.agent.door, kinds[0]
	name := s.writer.visible(maps)
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q}}`, "never-made")
	s.check("a list of a resource never known", d.get(s.ctx, "/apis/batch/v1/jobs").isStatus(503))
	s.check("a namespaced list of a resource never known", d.get(s.ctx, "/apis/apps/v1/namespaces/"+home+"/deployments").isStatus(503))
	s.check("a get of a resource never known", d.get(s.ctx, "/apis/batch/v1/namespaces/"+home+"/jobs/one").isStatus(503))
	s.check("a create", d.send(s.ctx, "POST", maps.in(home), "application/json", body).isStatus(503))
	s.check("a patch", d.send(s.ctx, "PATCH", maps.in(home)+"/"+name, "application/merge-patch+json", `{"data":{"x":"y"}}`).isStatus(503))
	s.check("a delete", d.send(s.ctx, "DELETE", maps.in(home)+"/"+name, "", "").isStatus(503))
}

// opens starts a watch of each kind at the newest version told and sees that it stays open.
func (s *scene) opens() string {
	ctx, cancel := context.WithTimeout(s.ctx, 1500*time.Millisecond)
	defer cancel()
	complaints := make([]string, len(kinds))
	var all sync.WaitGroup
	for n, k := range kinds {
		all.Go(func() {
			r := &recorder{door: s.agent.door, target: k.all()}
			r.newest = s.told[k.plural].highest()
			at := r.newest
			err := r.watch(ctx)
			r.mu.Lock()
			defer r.mu.Unlock()
			if ctx.Err() == nil || len(r.notes) > 0 || len(r.steps) > 0 {
				complaints[n] = fmt.Sprintf("watch of %s at %d: %v %v %v", k.plural, at, err, r.notes, r.steps)
			}
		})
	}
	all.Wait()
	return few(slices.DeleteFunc(complaints, func(c string) bool { return c == "" }))
}
