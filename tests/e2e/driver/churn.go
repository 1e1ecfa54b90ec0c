// Changes to objects, made straight on the server, in a random order that a printed seed repeats.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
)

// writer makes, changes and deletes objects. It remembers which there are.
type writer struct {
	door  *door
	dice  *rand.Rand
	alive map[string][]string // names by kind
	next  int
}

func newWriter(d *door) *writer {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("E2E_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	fmt.Printf("seed: E2E_SEED=%d\n", seed)
	return &writer{door: d, dice: rand.New(rand.NewPCG(seed, 1)), alive: map[string][]string{}}
}

// create makes an object, every fifth of them one that the agent must hide.
func (w *writer) create(ctx context.Context, k kind) {
	w.next++
	name := fmt.Sprintf("e2e-%d", w.next)
	if w.next%5 == 0 {
		name = hidden + name
	}
	w.createAs(ctx, k, home, name, w.next)
	w.alive[k.plural] = append(w.alive[k.plural], name)
}

// createAs makes an object of this name.
func (w *writer) createAs(ctx context.Context, k kind, namespace, name string, i int) {
	body, err := json.Marshal(k.object(name, i))
	if err != nil {
		stop("object %s: %v", name, err)
	}
	w.must(w.door.send(ctx, "POST", k.in(namespace), "application/json", string(body)))
}

// touch changes an annotation.
func (w *writer) touch(ctx context.Context, k kind, namespace, name string) {
	body := fmt.Sprintf(`{"metadata":{"annotations":{"e2e/touched":"%d"}}}`, w.dice.IntN(1<<30))
	w.must(w.door.send(ctx, "PATCH", k.in(namespace)+"/"+name, "application/merge-patch+json", body))
}

func (w *writer) remove(ctx context.Context, k kind, namespace, name string) {
	w.must(w.door.send(ctx, "DELETE", k.in(namespace)+"/"+name+"?gracePeriodSeconds=0", "", ""))
}

// must is for the server, which has no reason to fail.
func (w *writer) must(a answer) {
	if a.err != nil || a.status != 200 && a.status != 201 {
		stop("write: %s", a)
	}
}

// change does one thing to one object of the kind.
func (w *writer) change(ctx context.Context, k kind) {
	names := w.alive[k.plural]
	what := w.dice.IntN(10)
	if len(names) < 4 || what < 3 {
		w.create(ctx, k)
		return
	}
	at := w.dice.IntN(len(names))
	name := names[at]
	switch {
	case what < 8:
		w.touch(ctx, k, home, name)
	case what == 8:
		w.remove(ctx, k, home, name)
		w.alive[k.plural] = append(names[:at:at], names[at+1:]...)
	default: // deleted and made again under the same name
		w.remove(ctx, k, home, name)
		w.next++
		w.createAs(ctx, k, home, name, w.next)
	}
}

// churn does n things to each kind, in turn.
func (w *writer) churn(ctx context.Context, n int) {
	for range n {
		for _, k := range kinds {
			w.change(ctx, k)
		}
	}
}

// visible is a living object's name that the agent does not hide.
func (w *writer) visible(k kind) string {
	for _, name := range w.alive[k.plural] {
		if !strings.HasPrefix(name, hidden) {
			return name
		}
	}
	stop("no visible object of %s", k.plural)
	return ""
}
