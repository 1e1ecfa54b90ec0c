// A watch that breaks after any event and goes on from its version is told all the rest.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// resume makes the agent take in a list, then another one from which an object is missing and whose newest object has the
// list's own version: where the deletion is told by the list only, it has no version of its own.
func resume(s *scene) {
	const namespace = "resume"
	maps := kinds[0]
	if err := s.cloud.namespace(s.ctx, namespace); err != nil {
		stop("%v", err)
	}
	for i, name := range []string{"stays", "goes", "changes"} {
		s.writer.createAs(s.ctx, maps, namespace, name, i)
	}
	target := maps.in(namespace)
	first, err := s.agent.door.list(s.ctx, target)
	if !s.check("a list", whyNot(err)) {
		return
	}
	s.writer.remove(s.ctx, maps, namespace, "goes")
	s.writer.touch(s.ctx, maps, namespace, "changes")
	second, err := s.agent.door.list(s.ctx, target)
	if !s.check("a list after changes", whyNot(err)) {
		return
	}
	s.note("lists at %d and %d, the changed object at %d", first.version, second.version, second.objects[namespace+"/changes"].version)

	// Watch from the first list on, breaking off after each event.
	state, at := first, first.version
	for range 6 {
		got, ok := s.one(target, at)
		if !ok {
			break
		}
		s.note("from %d: %s", at, got)
		if got.what == "DELETED" {
			delete(state.objects, got.key)
		} else {
			state.objects[got.key] = got.object
		}
		at = got.version
	}
	s.check("a client that goes on from each event's version knows what the server has", differs(s.server.mustList(s.ctx, target), state))
}

// one opens a watch and reads its first event (no bookmark) within a second.
func (s *scene) one(target string, at uint64) (step, bool) {
	ctx, cancel := context.WithTimeout(s.ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s%s?watch=true&resourceVersion=%d", s.agent.door.base, target, at), nil)
	if err != nil {
		return step{}, false
	}
	response, err := s.agent.door.http.Do(request)
	if err != nil {
		return step{}, false
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			return step{}, false
		}
		var event struct {
			Type   string
			Object json.RawMessage
		}
		if err := json.Unmarshal(text, &event); err != nil || event.Type == "BOOKMARK" {
			continue
		}
		key, o, err := plain(event.Object)
		if err != nil {
			s.note("%s", text)
			return step{}, false
		}
		return step{event.Type, key, o}, true
	}
}
