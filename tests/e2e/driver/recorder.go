// A plain watch client: one list, then watches that go on from the last version told, as a reflector does it, written down.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// recorder watches one collection through one door until its context ends.
type recorder struct {
	trail
	first  listing // what it began with
	door   *door
	target string
	relist atomic.Int64 // times it was made to list again
	ended  atomic.Int64 // times a watch ended
}

// record lists, and watches from there on.
func record(ctx context.Context, d *door, target string) (*recorder, error) {
	first, err := d.list(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("recorder of %s: %w", target, err)
	}
	r := &recorder{first: first, door: d, target: target}
	r.from, r.newest = first.version, first.version
	go r.run(ctx)
	return r, nil
}

// records starts a recorder for all objects of each kind.
func records(ctx context.Context, d *door) (map[string]*recorder, error) {
	all := map[string]*recorder{}
	for _, k := range kinds {
		r, err := record(ctx, d, k.all())
		if err != nil {
			return nil, err
		}
		all[k.plural] = r
	}
	return all, nil
}

// at is the state that the server had at a version, hidden objects left out.
func (r *recorder) at(version uint64) listing {
	state := r.first.seen()
	for _, s := range r.after(r.first.version) {
		if s.version > version {
			break
		}
		if isHidden(s.key) {
			continue
		}
		if s.what == "DELETED" {
			delete(state.objects, s.key)
		} else {
			state.objects[s.key] = s.object
		}
	}
	return state
}

var errGone = errors.New("410")

func (r *recorder) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		r.ended.Add(1)
		if errors.Is(err, errGone) {
			r.relist.Add(1)
			r.note("the watch was answered %v: a reflector would list again", err)
			if l, err := r.door.list(ctx, r.target); err == nil {
				r.told(l.version, "a list")
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// watch reads one watch to its end.
func (r *recorder) watch(ctx context.Context) error {
	target := fmt.Sprintf("%s?watch=true&allowWatchBookmarks=true&timeoutSeconds=600&resourceVersion=%d", r.target, r.highest())
	request, err := http.NewRequestWithContext(ctx, "GET", r.door.base+target, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	response, err := r.door.http.Do(request)
	if err != nil {
		return err // refused while the agent is down
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 300))
		if response.StatusCode == 410 {
			return fmt.Errorf("%w: %s", errGone, body)
		}
		r.note("GET %s: %d %s", target, response.StatusCode, body)
		return nil
	}
	lines := bufio.NewReaderSize(response.Body, 64<<10)
	for {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			if len(text) > 0 && !errors.Is(err, context.Canceled) && errors.Is(err, io.EOF) {
				r.note("the watch ended cleanly within an event: %.200s", text)
			}
			return err
		}
		if err := r.take(text); err != nil {
			return err
		}
	}
}

func (r *recorder) take(text []byte) error {
	var event struct {
		Type   string
		Object json.RawMessage
	}
	if err := json.Unmarshal(text, &event); err != nil {
		r.note("not an event: %v in %.300s", err, text)
		return err
	}
	switch event.Type {
	case "BOOKMARK":
		var o struct {
			Metadata struct{ ResourceVersion string }
		}
		if err := json.Unmarshal(event.Object, &o); err != nil {
			r.note("bookmark: %v in %.300s", err, text)
			return err
		}
		version, err := strconv.ParseUint(o.Metadata.ResourceVersion, 10, 64)
		if err != nil || version == 0 {
			r.note("bookmark without a version: %.300s", text)
			return nil
		}
		r.told(version, "a bookmark")
	case "ADDED", "MODIFIED", "DELETED":
		key, o, err := plain(event.Object)
		if err != nil {
			r.note("%s: %v in %.300s", event.Type, err, text)
			return err
		}
		r.add(step{event.Type, key, o})
	case "ERROR":
		var status struct{ Code int }
		_ = json.Unmarshal(event.Object, &status)
		if status.Code == 410 {
			return fmt.Errorf("%w: %s", errGone, event.Object)
		}
		r.note("ERROR in the watch: %.300s", text)
		return fmt.Errorf("error %d", status.Code)
	default:
		r.note("an event of type %q: %.300s", event.Type, text)
	}
	return nil
}
