// Child processes: started with a log file, ended by their own id, none left behind.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

var (
	running   = map[*process]bool{}
	runningMu sync.Mutex
	atEnd     []func() // what else is to be done when the run ends
)

// start runs a program with its output appended to `log`. It dies with us.
func start(name, log, program string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	defer out.Close()
	p := &process{name: name, log: log, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (%s): %w", name, program, err)
	}
	runningMu.Lock()
	running[p] = true
	runningMu.Unlock()
	go func() {
		_ = p.cmd.Wait()
		runningMu.Lock()
		delete(running, p)
		runningMu.Unlock()
		close(p.done)
	}()
	return p, nil
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill is the power cut: SIGKILL, and back when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// end asks politely first.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.kill()
	}
}

func endAll() {
	runningMu.Lock()
	all := make([]*process, 0, len(running))
	for p := range running {
		all = append(all, p)
	}
	runningMu.Unlock()
	for _, p := range all {
		p.kill()
	}
	for _, f := range atEnd {
		f()
	}
}

// freeAddress is a loopback address nobody listens on at this moment.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		stop("no free port on loopback: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// listens waits until something accepts on the address.
func (p *process) listens(address string, limit time.Duration) error {
	end := time.Now().Add(limit)
	for time.Now().Before(end) {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
			return nil
		}
		if !p.alive() {
			return fmt.Errorf("%s ended before it listened on %s: %s\n%s", p.name, address, p.cmd.ProcessState, p.lastWords())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("%s does not listen on %s after %s\n%s", p.name, address, limit, p.lastWords())
}

// lastWords is the end of the process's log.
func (p *process) lastWords() string {
	text, _ := os.ReadFile(p.log)
	const most = 1500
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}
