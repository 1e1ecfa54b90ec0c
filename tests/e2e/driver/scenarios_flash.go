// The flash fails: it is full, read only, damaged, cut short. The agent forwards, says so, and never answers what was not whole.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// flashSize of the state folder, in KiB: room for what is listed at first, and a little more.
const flashSize = 640

func flash(s *scene) {
	k := &killing{scene: s, maps: kinds[0], secrets: kinds[3], truth: map[string]*recorder{}}
	for _, kind := range []kind{k.maps, k.secrets} {
		r, err := record(s.ctx, s.server, kind.all())
		if err != nil {
			stop("%v", err)
		}
		k.truth[kind.plural] = r
	}
	state := filepath.Join(s.agent.dir, "state")
	s.agent.kill()
	if !s.check("a small file system for the state folder", command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dk", flashSize), "tmpfs", state)) {
		return
	}
	defer func() {
		s.agent.kill()
		s.check("the small file system goes", command("umount", state))
		_, err := s.agent.start()
		s.check("the agent starts on an empty folder", whyNot(err))
	}()
	k.boot("on a small flash")
	s.writer.churn(s.ctx, 4)
	s.check("the server's lists, on a small flash", k.same())

	ballast := filepath.Join(state, "ballast")
	fill(ballast)
	k.full("room-full")
	k.offline("on a full flash", true)
	k.agent.kill()
	k.boot("on a full flash")
	k.offline("after a start on a full flash", true)
	if err := os.Remove(ballast); err != nil {
		stop("%v", err)
	}
	k.online()
	k.agent.kill()
	k.boot("with room again")
	s.check("the server's lists, with room again", k.same())
	last := k.maps.all()
	want := s.server.mustList(s.ctx, last)
	s.line.set(refuse)
	_, why := s.askAtOnce(last, want.seen())
	s.check("what was listed with room again is known offline", why)

	k.agent.kill()
	s.check("the file system becomes read only", command("mount", "-o", "remount,ro", state))
	k.boot("on a read-only flash")
	k.offline("on a read-only flash", true)
	k.online()
	s.writer.churn(s.ctx, 2)
	s.check("the server's lists, on a read-only flash", k.same())
	k.agent.kill()
	s.check("the file system can be written again", command("mount", "-o", "remount,rw", state))

	k.boot("on a flash that can be written again")
	s.check("the server's lists, on a flash that can be written again", k.same())
	for n := range 6 {
		k.agent.kill()
		what := k.damage(filepath.Join(state, "mirror"), n%2 == 0)
		k.boot("after " + what)
		k.offline("after "+what, false)
		k.online()
		s.check("the server's lists, after "+what, k.same())
	}
}

// full writes on the server what the agent has no room for.
func (k *killing) full(room string) {
	warm, err := record(k.ctx, k.agent.door, k.maps.all())
	if !k.check("a watch on a full flash starts", whyNot(err)) {
		return
	}
	k.furnish(room)
	k.rooms = []string{room}
	k.writer.churn(k.ctx, 6)
	k.check("the server's lists, on a full flash", k.same())
	k.check("a watch on a full flash is told the last event", within(20*time.Second, func() string {
		return warm.reached(&k.truth["configmaps"].trail)
	}))
	admin, err := plainDoor("admin", k.agent.admin)
	if err != nil {
		stop("%v", err)
	}
	status := admin.get(k.ctx, "/status")
	why := ""
	if text := string(status.body); !strings.Contains(text, `"failing":`) || strings.Contains(text, `"failing":0`) {
		why = text
	}
	k.check("/status says that something can't be written", why)
}

// boot starts the agent; the line stays as it is.
func (k *killing) boot(when string) {
	_, err := k.agent.start()
	k.check("the agent starts "+when, whyNot(err))
}

// same compares what the agent lists online with the server.
func (k *killing) same() string {
	targets := []string{k.maps.all(), k.maps.in(home)}
	for _, room := range k.rooms {
		targets = append(targets, k.secrets.in(room))
	}
	return within(20*time.Second, func() string {
		var complaints []string
		for _, target := range targets {
			got, err := k.agent.door.list(k.ctx, target)
			if err != nil {
				complaints = append(complaints, err.Error())
			} else if why := differs(k.server.mustList(k.ctx, target).seen(), got); why != "" {
				complaints = append(complaints, target+": "+why)
			}
		}
		return few(complaints)
	})
}

// offline cuts the line and compares every answer with the server's state at its version.
func (k *killing) offline(when string, mustKnow bool) {
	k.line.set(refuse)
	k.whole, k.unknown, k.wrong = 0, 0, nil
	k.verify(0, k.maps, k.maps.all(), "", mustKnow)
	k.verify(0, k.maps, k.maps.in(home), home, mustKnow)
	for _, room := range k.rooms {
		k.verify(0, k.secrets, k.secrets.in(room), room, false)
	}
	k.check("every offline answer "+when+" is a state the server had, or 503", few(k.wrong))
	k.note("%s: %d answers whole, %d were 503", when, k.whole, k.unknown)
}

func (k *killing) online() {
	k.line.set(pass)
	_, why := k.connected(30 * time.Second)
	k.check("the line is used again", why)
}

// damage changes a byte of each log, or cuts each, somewhere.
func (k *killing) damage(folder string, flip bool) string {
	what := "each log was cut short"
	if flip {
		what = "a byte of each log was changed"
	}
	logs, err := filepath.Glob(filepath.Join(folder, "*.log"))
	if err != nil || len(logs) == 0 {
		stop("logs in %s: %v, %d", folder, err, len(logs))
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			stop("%v", err)
		}
		at := k.writer.dice.IntN(len(text))
		if flip {
			text[at] ^= 1 << k.writer.dice.IntN(8)
		} else {
			text = text[:at]
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			stop("%v", err)
		}
	}
	return what
}

// fill writes a file until there is no room.
func fill(path string) {
	f, err := os.Create(path)
	if err != nil {
		stop("%v", err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for {
		if _, err := f.Write(page); err != nil {
			return
		}
	}
}

// command runs a program of the system; what it said when it failed.
func command(name string, args ...string) string {
	said, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s: %v: %s", name, err, strings.TrimSpace(string(said)))
	}
	return ""
}
