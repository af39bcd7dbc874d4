package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/judemap/judemap"
)

// How the demo starts its workers: as processes, or as goroutines.

// The commands that the program must have which runs the demo: the demo starts it again with them. Each takes the name that
// the frames have. The first also takes the flag --fps, and the second the flag --work; [Produce], [Consume] and [Keep] do
// what they say.
const (
	ProducerCommand = "demo-producer"
	ConsumerCommand = "demo-consumer"
	KeeperCommand   = "demo-keeper"
)

type role string

const (
	roleProducer role = "producer"
	roleConsumer role = "consumer"
)

// A task is what a worker is to do.
type task struct {
	role role
	fps  float64       // a producer's
	work time.Duration // a consumer's, on each frame
}

// A worker is a producer or consumer. What the demo knows of it, it knows from its events.
type worker struct {
	role role
	name string       // for messages
	pid  int          // 0: a goroutine
	stop func()       // tells it to stop
	kill func() error // ends it at once

	ready   bool
	stopped bool // it was told to stop
	killed  bool
	ended   bool
	diedAt  time.Duration // when it last noticed that the producer was dead
}

// An event is a worker's report, or its end.
type event struct {
	worker *worker
	report report
	ended  bool
	err    error
}

// workers starts them. Their events must be taken until the last of them has ended.
type workers interface {
	start(t task) (*worker, error)
	events() <-chan event
}

type processes struct {
	program string
	name    string // of the carrier
	film    *os.File
	channel chan event
}

func newProcesses(c carrier, film *judemap.Segment) (*processes, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file, err := film.File()
	return &processes{program, c.Name(), file, make(chan event)}, err
}

func (p *processes) events() <-chan event { return p.channel }

func (p *processes) start(t task) (*worker, error) {
	args := []string{ProducerCommand, p.name, "--fps", strconv.FormatFloat(t.fps, 'g', -1, 64)}
	if t.role == roleConsumer {
		args = []string{ConsumerCommand, p.name, "--work", t.work.String()}
	}
	cmd := exec.Command(p.program, args...)
	if err := pass(cmd, p.film); err != nil {
		return nil, err
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a %s: %w", t.role, err)
	}
	w := &worker{
		role: t.role,
		name: strconv.Itoa(cmd.Process.Pid),
		pid:  cmd.Process.Pid,
		stop: func() { _, _ = io.WriteString(in, "stop\n") }, // fails if it has ended
		kill: cmd.Process.Kill,
	}
	go func() {
		for reports := json.NewDecoder(out); ; {
			var r report
			if reports.Decode(&r) != nil { // the end, or the half of a line that a killed process leaves
				break
			}
			p.channel <- event{worker: w, report: r}
		}
		err := cmd.Wait()
		if text := strings.TrimSpace(complaints.String()); err != nil && text != "" {
			err = errors.New(text)
		}
		p.channel <- event{worker: w, ended: true, err: err}
	}()
	return w, nil
}

type goroutines struct {
	carrier carrier
	film    *judemap.Segment
	channel chan event
	started int
}

func newGoroutines(c carrier, film *judemap.Segment) *goroutines {
	return &goroutines{carrier: c, film: film, channel: make(chan event)}
}

func (g *goroutines) events() <-chan event { return g.channel }

func (g *goroutines) start(t task) (*worker, error) {
	film, err := g.film.Read()
	if err != nil {
		return nil, err
	}
	g.started++
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{
		role: t.role,
		name: strconv.Itoa(g.started),
		stop: cancel,
		kill: func() error { return errors.New("a goroutine can't be killed") },
	}
	send := func(r report) error {
		g.channel <- event{worker: w, report: r}
		return nil
	}
	go func() {
		var err error
		if t.role == roleProducer {
			err = produce(ctx, g.carrier, film.Data(), t.fps, send)
		} else {
			err = consume(ctx, g.carrier, film.Data(), t.work, send)
		}
		cancel()
		g.channel <- event{worker: w, ended: true, err: err}
	}()
	return w, nil
}
