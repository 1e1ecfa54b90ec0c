// What the run says: one line a check, notes between them, and the count at the end.
package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// report counts checks and prints them as they are made.
type report struct {
	mu             sync.Mutex
	scenario       string
	passed, failed int
	began          time.Time
}

func (r *report) begin(scenario string) {
	r.scenario, r.began = scenario, time.Now()
	fmt.Printf("\n# %s\n", scenario)
}

func (r *report) end() {
	fmt.Printf("  (%s took %.1f s)\n", r.scenario, time.Since(r.began).Seconds())
}

// check prints `ok NAME` when there is nothing to complain of, and `FAIL NAME: why` otherwise. It returns whether it held.
func (r *report) check(name, why string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if why == "" {
		r.passed++
		fmt.Printf("ok   %s: %s\n", r.scenario, name)
		return true
	}
	r.failed++
	fmt.Printf("FAIL %s: %s: %s\n", r.scenario, name, strings.ReplaceAll(why, "\n", "\n       "))
	return false
}

// note prints a figure that is not judged.
func (r *report) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Printf("     "+format+"\n", args...)
}

// summary prints the last line and returns the process's exit status: a run of no checks is a failure.
func (r *report) summary() int {
	fmt.Printf("\n%d passed, %d failed\n", r.passed, r.failed)
	if r.failed > 0 || r.passed == 0 {
		return 1
	}
	return 0
}

// stop ends the run because its own means failed (not the thing tested).
func stop(format string, args ...any) {
	endAll()
	fmt.Fprintf(os.Stderr, "e2e: "+format+"\n", args...)
	fmt.Printf("\n0 passed, 1 failed\n")
	os.Exit(2)
}

// within waits until `done` returns "" and says what it said last when the time is over.
func within(limit time.Duration, done func() string) string {
	end := time.Now().Add(limit)
	for {
		why := done()
		if why == "" {
			return ""
		}
		if time.Now().After(end) {
			return fmt.Sprintf("after %s: %s", limit, why)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// few joins the first complaints and says how many there are more.
func few(complaints []string) string {
	const shown = 4
	if len(complaints) > shown {
		return strings.Join(complaints[:shown], "\n") + fmt.Sprintf("\n(and %d more)", len(complaints)-shown)
	}
	return strings.Join(complaints, "\n")
}

func whyNot(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
