// kill -9 at random moments under lists and watches, each followed by a start without the line: every answer is a state that
// the server had, whole, or 503.
package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	rounds  = 50
	most    = 200 * time.Millisecond // of load before the kill
	perRoom = 40                     // objects in each fresh namespace
)

// killing is the state of the scenario.
type killing struct {
	*scene
	maps, secrets kind
	// What the server had, at every version.
	truth map[string]*recorder
	rooms []string // namespaces whose secrets were listed, newest last
	told  sync.Map // target → highest version told in a whole list

	whole, unknown, older int
	cutFirst              bool
	wrong, broken, aged   []string
	notes                 []string
}

func kills(s *scene) {
	k := &killing{scene: s, maps: kinds[0], secrets: kinds[3], truth: map[string]*recorder{}}
	s.writer.churn(s.ctx, 8)
	for _, kind := range []kind{k.maps, k.secrets} {
		r, err := record(s.ctx, s.server, kind.all())
		if err != nil {
			stop("%v", err)
		}
		k.truth[kind.plural] = r
	}
	warm, err := record(s.ctx, s.agent.door, k.maps.all())
	if !s.check("a watch of all configmaps starts", whyNot(err)) {
		return
	}
	var back []time.Duration
	for n := range rounds {
		if !k.round(n) {
			break
		}
		s.line.set(pass)
		took, why := s.connected(30 * time.Second)
		if why != "" {
			k.broken = append(k.broken, fmt.Sprintf("round %d: %s", n+1, why))
		}
		back = append(back, took)
	}
	s.note("%d answers whole, %d were 503 (never known as a whole), %d older than a list told before the kill\n%s", k.whole, k.unknown, k.older, few(k.aged))
	if len(back) > 0 {
		slices.Sort(back)
		s.note("line used again after %s in the median, %s at most", back[len(back)/2].Round(time.Millisecond), back[len(back)-1].Round(time.Millisecond))
	}
	s.check(fmt.Sprintf("after each of %d kills, every offline answer is a state the server had, or 503", rounds), few(k.wrong))
	s.check("the agent starts after every kill, and uses the line when it is back", few(k.broken))
	s.check("watches cut by the kills told nothing broken", few(k.notes))
	s.check("the watch that ran all along came to the last event", within(30*time.Second, func() string { return warm.reached(&k.truth["configmaps"].trail) }))
	skipped, why := warm.condensed(&k.truth["configmaps"].trail)
	s.check("the watch that ran all along is told the server's events", why)
	s.note("events condensed to a later one of the object: %d", skipped)
	why = ""
	if k.whole < rounds {
		why = fmt.Sprintf("only %d answers were lists", k.whole)
	}
	s.check("most answers are lists", why)
	for _, target := range []string{k.maps.all(), k.secrets.in(k.rooms[0]), k.secrets.in(k.rooms[len(k.rooms)-1])} {
		got, err := s.agent.door.list(s.ctx, target)
		why := whyNot(err)
		if err == nil {
			why = differs(s.server.mustList(s.ctx, target).seen(), got)
		}
		s.check("at the end, "+target, why)
	}
}

// round loads the agent, kills it, starts it without the line, and checks all answers.
func (k *killing) round(n int) bool {
	room := fmt.Sprintf("room-%d-%d", n, k.writer.dice.IntN(1<<20))
	k.furnish(room)
	ctx, cancel := context.WithCancel(k.ctx)
	load := k.load(ctx, room)
	time.Sleep(time.Duration(k.writer.dice.Int64N(int64(most))))
	k.cutFirst = k.writer.dice.IntN(3) == 0
	if k.cutFirst {
		k.line.set(refuse)
		time.Sleep(time.Duration(k.writer.dice.Int64N(int64(most) / 4)))
	}
	if why := k.agent.died(); why != "" {
		k.broken = append(k.broken, fmt.Sprintf("round %d: %s", n+1, why))
	}
	k.agent.kill()
	k.line.set(refuse)
	cancel()
	load.Wait()
	if _, err := k.agent.start(); err != nil {
		k.broken = append(k.broken, fmt.Sprintf("round %d: %v", n+1, err))
		return false
	}
	k.rooms = append(k.rooms, room)
	k.verify(n, k.maps, k.maps.all(), "", true)
	k.verify(n, k.maps, k.maps.in(home), home, true)
	for _, r := range k.rooms[max(0, len(k.rooms)-4):] {
		k.verify(n, k.secrets, k.secrets.in(r), r, false)
	}
	return true
}

// furnish makes a namespace with objects large enough that a list of them is written in many steps.
func (k *killing) furnish(room string) {
	if err := k.cloud.namespace(k.ctx, room); err != nil {
		stop("%v", err)
	}
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := w; i < perRoom; i += 4 {
				name := fmt.Sprintf("one-%d", i)
				if i%5 == 0 {
					name = hidden + name
				}
				body := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"labels":{"third":"%d"}},"stringData":{"pad":%q}}`,
					name, i%3, strings.Repeat(name, 200))
				k.writer.must(k.server.send(k.ctx, "POST", k.secrets.in(room), "application/json", body))
			}
		})
	}
	all.Wait()
}

// load lists and watches through the agent and changes objects on the server, until its context ends.
func (k *killing) load(ctx context.Context, room string) *sync.WaitGroup {
	var all sync.WaitGroup
	lister := func(target string) func() {
		return func() {
			for ctx.Err() == nil {
				a := k.agent.door.get(ctx, target)
				if l, err := a.listing(); err == nil {
					k.tell(target, l.version)
				} else if a.err != nil {
					time.Sleep(5 * time.Millisecond)
				}
			}
		}
	}
	all.Go(lister(k.secrets.in(room)))
	all.Go(lister(k.secrets.in(room)))
	all.Go(lister(k.maps.all()))
	watcher := &recorder{door: k.agent.door, target: k.secrets.in(room)}
	all.Go(func() {
		if l, err := k.agent.door.list(ctx, watcher.target); err == nil {
			watcher.newest = l.version
			_ = watcher.watch(ctx)
		}
	})
	var turn atomic.Int64
	all.Go(func() {
		for ctx.Err() == nil {
			i := turn.Add(1) % perRoom
			if i%5 != 0 {
				k.writer.touch(k.ctx, k.secrets, room, fmt.Sprintf("one-%d", i))
			}
			k.writer.change(k.ctx, k.maps)
		}
	})
	done := &sync.WaitGroup{}
	done.Go(func() {
		all.Wait()
		for _, note := range watcher.notes {
			if !strings.HasPrefix(note, "GET ") { // an answer of 503 is allowed here
				k.notes = append(k.notes, note)
			}
		}
	})
	return done
}

func (k *killing) tell(target string, version uint64) {
	for {
		old, there := k.told.LoadOrStore(target, version)
		if !there || old.(uint64) >= version || k.told.CompareAndSwap(target, old, version) {
			return
		}
	}
}

// verify asks for a list in three ways and compares each with the server's state at the version it tells.
func (k *killing) verify(n int, of kind, target, namespace string, mustKnow bool) {
	for _, query := range []string{"", "?limit=500&resourceVersion=0", "?labelSelector=third%3D1"} {
		a := k.agent.door.get(k.ctx, target+query)
		complain := func(format string, args ...any) {
			k.wrong = append(k.wrong, fmt.Sprintf("round %d: GET %s: ", n+1, target+query)+fmt.Sprintf(format, args...))
		}
		if a.status == 503 {
			k.unknown++
			if why := a.isStatus(503); why != "" {
				complain("%s", why)
			}
			if mustKnow {
				complain("%s, though it was known before", a)
			}
			continue
		}
		got, err := a.listing()
		if err != nil {
			complain("%v", err)
			continue
		}
		k.whole++
		if told, ok := k.told.Load(target); ok && query == "" && got.version < told.(uint64) {
			k.older++
			k.aged = append(k.aged, fmt.Sprintf("round %d: %s at %d, a list was told %d before the kill (cut first: %v)", n+1, target, got.version, told, k.cutFirst))
		}
		want := k.state(of, got.version)
		if namespace != "" {
			want = want.only(namespace)
		}
		if strings.Contains(query, "labelSelector") {
			for key, o := range want.objects {
				if !strings.Contains(o.content, `"third":"1"`) {
					delete(want.objects, key)
				}
			}
		}
		if why := differs(want, got); why != "" {
			complain("at version %d, %s", got.version, why)
		}
	}
}

// state is what the server had at a version. Writers have stopped: the server's own watch need only catch up.
func (k *killing) state(of kind, version uint64) listing {
	truth := k.truth[of.plural]
	last := k.server.mustList(k.ctx, of.all())
	newest := uint64(0)
	for _, o := range last.objects {
		newest = max(newest, o.version)
	}
	if why := within(10*time.Second, func() string {
		if truth.highest() < newest {
			return fmt.Sprintf("the watch of %s at the server lags behind %d", of.plural, newest)
		}
		return ""
	}); why != "" {
		stop("%s", why)
	}
	return truth.at(version)
}
