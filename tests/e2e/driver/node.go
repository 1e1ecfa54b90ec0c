// A node: a real kubelet and containerd in namespaces of their own, that know the agent's address and nothing of the server.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type node struct {
	dir, group string
	network    bool // it has its own
	proc       *process
	init       int // its first process
}

// makeNode writes what a node needs.
func makeNode(dir string, p plan, keys pki) (*node, error) {
	n := &node{dir: dir, group: fmt.Sprintf("toono-e2e-%d", os.Getpid()), network: p.network != ""}
	atEnd = append(atEnd, n.off)
	return n, p.write(dir, keys)
}

// boot switches the node on, and returns when its first process is there.
func (n *node) boot() error {
	args := []string{filepath.Join("node", "boot"), n.group, n.dir}
	if n.network {
		args = append(args, "--net")
	}
	var err error
	if n.proc, err = start("node", filepath.Join(n.dir, "node.log"), "bash", args...); err != nil {
		return err
	}
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", n.proc.cmd.Process.Pid)
	if why := within(10*time.Second, func() string {
		text, _ := os.ReadFile(children)
		// Before unshare starts the first process, the script's own commands are to be seen here.
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || !strings.Contains(commandLine(pid), "node/init") {
			return "it has no first process"
		}
		n.init = pid
		return ""
	}); why != "" {
		return fmt.Errorf("node: %s\n%s", why, n.proc.lastWords())
	}
	return nil
}

// commandLine is a process's program and arguments.
func commandLine(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.ReplaceAll(string(text), "\x00", " ")
}

// off is the power switch. What the groups of the node leave is taken away.
func (n *node) off() {
	if n.proc == nil {
		return
	}
	if n.init != 0 && n.proc.alive() {
		_ = syscall.Kill(n.init, syscall.SIGKILL) // the kernel ends with it all that it started
	}
	n.proc.kill()
	n.init = 0
	for range 40 {
		left := 0
		all, _ := filepath.Glob("/sys/fs/cgroup/*/" + n.group)
		for _, root := range all {
			var groups []string
			_ = filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
				if err == nil && info.IsDir() {
					groups = append(groups, path)
				}
				return nil
			})
			for i := len(groups) - 1; i >= 0; i-- {
				if os.Remove(groups[i]) != nil {
					left++
				}
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// pid is the process of the node's own, not of a pod's, that runs a program; 0 when there is none.
func (n *node) pid(program string) int {
	mine, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n.init))
	if err != nil {
		return 0
	}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		name, _ := os.ReadFile(dir + "/comm")
		if strings.TrimSpace(string(name)) != program {
			continue
		}
		if space, _ := os.Readlink(dir + "/ns/pid"); space == mine {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	return 0
}

// kill ends a program of the node's, which starts it again half a second later.
func (n *node) kill(program string) string {
	pid := n.pid(program)
	if pid == 0 {
		return "no " + program + " runs"
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err.Error()
	}
	return within(10*time.Second, func() string {
		if now := n.pid(program); now == 0 || now == pid {
			return fmt.Sprintf("%s %d was killed, and %d runs", program, pid, now)
		}
		return ""
	})
}

// dial connects from the node's network to an address in it.
func (n *node) dial(ctx context.Context, network, address string) (net.Conn, error) {
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", n.init))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	runtime.LockOSThread() // a thread that can't come back is not unlocked, and ends with its goroutine
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer here.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("the node's network: %w", err)
	}
	connection, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, address)
	if unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return connection, err
}

// speakJSON has the kubelet speak JSON instead of protobuf from its next start on.
func (n *node) speakJSON() string {
	settings := filepath.Join(n.dir, "kubelet.yaml")
	text, err := os.ReadFile(settings)
	if err == nil {
		err = os.WriteFile(settings, append(text, "contentType: application/json\n"...), 0o600)
	}
	return whyNot(err)
}

// end kills the first process of a container, which the node's groups tell.
func (n *node) end(container string) string {
	_, id, _ := strings.Cut(container, "://")
	all, _ := filepath.Glob("/sys/fs/cgroup/memory/" + n.group + "/kubepods/*/*/" + id + "/cgroup.procs")
	if id == "" || len(all) != 1 {
		return fmt.Sprintf("%d groups of container %q", len(all), container)
	}
	text, err := os.ReadFile(all[0])
	if err != nil {
		return err.Error()
	}
	var first int
	for _, word := range strings.Fields(string(text)) {
		pid, _ := strconv.Atoi(word)
		command, _ := os.ReadFile("/proc/" + word + "/cmdline")
		if strings.HasPrefix(string(command), "/bin/sh\x00") {
			first = pid
		}
	}
	if first == 0 {
		return "the container has no shell"
	}
	return whyNot(syscall.Kill(first, syscall.SIGKILL))
}

// lines counts what a pod's container has printed, from the node's own disk.
func (n *node) lines(namespace, name string) int {
	count := 0
	logs, _ := filepath.Glob(filepath.Join(n.dir, "disk/log/pods", namespace+"_"+name+"_*", "*", "*.log"))
	for _, path := range logs {
		text, _ := os.ReadFile(path)
		count += strings.Count(string(text), "\n")
	}
	return count
}

// lastWords is the end of the logs of a node that does not do what it should.
func (n *node) lastWords() string {
	var all []string
	for _, name := range []string{"node.log", "containerd.log", "kubelet.log", "agent.log", "kube-proxy.log"} {
		text, _ := os.ReadFile(filepath.Join(n.dir, name))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		for _, line := range lines[max(0, len(lines)-4):] {
			all = append(all, name+": "+line[:min(len(line), 400)])
		}
	}
	return strings.Join(all, "\n")
}
