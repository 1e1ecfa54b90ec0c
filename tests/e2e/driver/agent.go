// The thing tested: `toono agent`, started, killed as by a power cut, started again, and weighed.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// hidden is the name prefix that the agent is told to drop.
const hidden = "skip-"

type agent struct {
	program, dir  string
	listen, admin string
	relay         *relay
	keys          pki
	proc          *process
	door          *door
	starts        int
}

// newAgent makes an agent with an empty state folder and starts it.
func newAgent(program, dir string, line *relay, keys pki) (*agent, error) {
	a := &agent{program: program, dir: dir, listen: freeAddress(), admin: freeAddress(), relay: line, keys: keys}
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	var err error
	if a.door, err = plainDoor("agent", a.listen); err != nil {
		return nil, err
	}
	_, err = a.start()
	return a, err
}

// start runs the agent and returns how long it took to listen.
func (a *agent) start() (time.Duration, error) {
	began := time.Now()
	var err error
	a.proc, err = start("toono agent", filepath.Join(a.dir, "agent.log"), a.program, "agent",
		"--server", "https://"+a.relay.address, "--ca", a.keys.path("ca.crt"), "--cert", a.keys.path("agent.crt"),
		"--key", a.keys.path("agent.key"), "--node-name", "edge1", "--listen", a.listen, "--admin-listen", a.admin,
		"--state-dir", filepath.Join(a.dir, "state"), "--drop-name-prefix", hidden)
	if err != nil {
		return 0, err
	}
	a.starts++
	return time.Since(began), a.proc.listens(a.listen, 10*time.Second)
}

// restart is the power cut and the boot after it.
func (a *agent) restart() (time.Duration, error) {
	a.kill()
	return a.start()
}

// kill ends the agent as a power cut does. That it was alive until then is part of what is tested: see died.
func (a *agent) kill() {
	a.proc.kill()
	a.door.forget()
}

// died says so when the agent ended by itself.
func (a *agent) died() string {
	if a.proc.alive() {
		return ""
	}
	return fmt.Sprintf("the agent ended by itself: %s\n%s", a.proc.cmd.ProcessState, a.proc.lastWords())
}

// weight is the agent's memory and threads, read from the system.
func (a *agent) weight() string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.proc.cmd.Process.Pid))
	if err != nil {
		return fmt.Sprintf("agent's weight: %v", err)
	}
	found := []string{}
	for line := range strings.Lines(string(text)) {
		for _, name := range []string{"VmHWM", "VmRSS", "RssAnon", "Threads"} {
			if value, ok := strings.CutPrefix(line, name+":"); ok {
				found = append(found, name+" "+strings.Join(strings.Fields(value), " "))
			}
		}
	}
	return "agent: " + strings.Join(found, ", ")
}

// flash is what the agent keeps in its state folder.
func (a *agent) flash() string {
	var files, bytes int64
	_ = filepath.Walk(filepath.Join(a.dir, "state"), func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			files++
			bytes += info.Size()
		}
		return nil
	})
	return fmt.Sprintf("state folder: %d files, %d bytes", files, bytes)
}
