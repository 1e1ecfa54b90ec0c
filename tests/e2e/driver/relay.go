// The line: a TCP relay between the agent and the API server that can be cut in three ways, and counts what crosses.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// mode is the state of the line.
type mode string

const (
	pass   mode = "pass"
	refuse mode = "refuse" // connections closed, new ones refused
	reset  mode = "reset"  // connections reset, new ones refused
	drop   mode = "drop"   // everything stays open, new connections are accepted, nothing arrives
)

type relay struct {
	address, target string

	mu       sync.Mutex
	mode     mode
	changed  chan struct{} // closed when the mode changes
	listener net.Listener
	lines    map[*line]bool

	up, down, accepted atomic.Int64
}

// line is one relayed connection.
type line struct {
	near, far *net.TCPConn
	lost      atomic.Bool // an end went away while nothing arrived
}

// newRelay listens on a port of the host's.
func newRelay(host, target string) (*relay, error) {
	r := &relay{target: target, mode: pass, changed: make(chan struct{}), lines: map[*line]bool{}}
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	r.address, r.listener = l.Addr().String(), l
	go r.accept(l)
	return r, nil
}

// set cuts the line or restores it. It returns when the new state holds.
func (r *relay) set(m mode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mode == m {
		return
	}
	r.mode = m
	close(r.changed)
	r.changed = make(chan struct{})
	if m == refuse || m == reset {
		r.listener.Close()
		r.listener = nil
		for l := range r.lines {
			if m == reset {
				_ = l.near.SetLinger(0)
			}
			l.near.Close()
			l.far.Close()
		}
		return
	}
	if r.listener != nil {
		return
	}
	for range 100 {
		l, err := net.Listen("tcp", r.address)
		if err == nil {
			r.listener = l
			go r.accept(l)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop("relay: cannot listen on %s again", r.address)
}

func (r *relay) state() (mode, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mode, r.changed
}

// count starts anew and returns what had crossed: payload bytes up (from the agent) and down, and connections.
func (r *relay) count() (up, down, connections int64) {
	return r.up.Swap(0), r.down.Swap(0), r.accepted.Swap(0)
}

func (r *relay) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		r.accepted.Add(1)
		go r.serve(c.(*net.TCPConn))
	}
}

func (r *relay) serve(near *net.TCPConn) {
	defer near.Close()
	far, err := net.Dial("tcp", r.target)
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: relay: %v\n", err)
		return
	}
	defer far.Close()
	l := &line{near: near, far: far.(*net.TCPConn)}
	r.mu.Lock()
	if r.mode == refuse || r.mode == reset {
		r.mu.Unlock()
		return
	}
	r.lines[l] = true
	r.mu.Unlock()
	both := make(chan struct{}, 2)
	go func() { r.copy(l, l.far, l.near, &r.up); both <- struct{}{} }()
	go func() { r.copy(l, l.near, l.far, &r.down); both <- struct{}{} }()
	<-both
	near.Close()
	far.Close()
	<-both
	r.mu.Lock()
	delete(r.lines, l)
	r.mu.Unlock()
}

// copy moves bytes one way. While the line drops, what was read is held back: it goes on when the line is restored, unless an
// end went away in the meantime, when it is lost as it would be on a real line.
func (r *relay) copy(l *line, to, from *net.TCPConn, counter *atomic.Int64) {
	buffer := make([]byte, 32<<10)
	var held []byte
	for {
		n, err := from.Read(buffer)
		m, changed := r.state()
		if m == drop {
			held = append(held, buffer[:n]...)
			if err != nil {
				l.lost.Store(true)
				<-changed
				return
			}
			if len(held) < 1<<20 {
				// Go on reading, so that an end that leaves is noticed; but wake when the line is restored.
				if !r.holds(l, from, changed, &held, buffer) {
					return
				}
			} else {
				<-changed
			}
			if l.lost.Load() {
				return
			}
		} else {
			held = append(held, buffer[:n]...)
		}
		if len(held) > 0 {
			counter.Add(int64(len(held)))
			if _, err := to.Write(held); err != nil {
				return
			}
			held = held[:0]
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				_ = to.CloseWrite()
			}
			return
		}
	}
}

// holds reads on while nothing may arrive, and returns when the line is restored: false when the connection is over.
func (r *relay) holds(l *line, from *net.TCPConn, changed <-chan struct{}, held *[]byte, buffer []byte) bool {
	defer from.SetReadDeadline(time.Time{})
	for {
		select {
		case <-changed:
			return true
		default:
		}
		_ = from.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := from.Read(buffer)
		*held = append(*held, buffer[:n]...)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			l.lost.Store(true)
			<-changed
			return false
		}
	}
}
