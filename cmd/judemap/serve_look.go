package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"slices"
	"sync"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/live"
	"golang.org/x/image/draw"
)

const (
	// copyEvery is the least time between two copies of a tensor. A copy that took long is followed by a pause of copyRest
	// times as long.
	copyEvery = 250 * time.Millisecond
	copyRest  = 4
	// copyPatience is how long a copy is tried.
	copyPatience = 100 * time.Millisecond
	// lookKept is how long a segment is kept open that nobody looks at any more, and mostLooks how many are.
	lookKept  = 5 * time.Second
	mostLooks = 8
	// pictureSide is the most pixels of a picture in each direction.
	pictureSide = 640
	// lookBytes is the most bytes of a tensor that is copied for a look.
	lookBytes = 256 << 20
)

// looks are at the segments and streams that pages show more of.
type looks struct {
	mu   sync.Mutex
	open map[string]*viewer

	// copying is held for a copy and what is made of it, so that many pages take no more memory and time than one.
	copying sync.Mutex
}

func newLooks() *looks { return &looks{open: map[string]*viewer{}} }

// A viewer looks at one segment or stream.
type viewer struct {
	name string
	used time.Time // guarded by looks.mu

	mu     sync.Mutex // held for a look; what follows is guarded by it
	source *live.Source
	pace   *pace
	seen   seen
	tensor *lookTensor // the last that could be seen
	image  *lookPicture
	looked uint64    // pictures made
	next   time.Time // not before this is there another look
}

// seen is what there is to send of a look.
type seen struct {
	json []byte
	png  []byte // nil: it is no picture
}

// run forgets what nobody looks at, until ctx ends.
func (l *looks) run(ctx context.Context) {
	ticker := time.NewTicker(lookKept / 5)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			l.forget(func(v *viewer) bool { return time.Since(v.used) > lookKept })
		case <-ctx.Done():
		}
	}
	l.forget(func(*viewer) bool { return true })
}

func (l *looks) forget(old func(v *viewer) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, v := range l.open {
		if old(v) {
			delete(l.open, name)
			go v.close() // waits for a look
		}
	}
}

// at returns a look that is new, or as new as looks may be.
func (l *looks) at(ctx context.Context, name string) (seen, error) {
	l.mu.Lock()
	v := l.open[name]
	if v == nil {
		if len(l.open) >= mostLooks {
			var oldest *viewer
			for _, other := range l.open {
				if oldest == nil || other.used.Before(oldest.used) {
					oldest = other
				}
			}
			delete(l.open, oldest.name)
			go oldest.close()
		}
		v = &viewer{name: name}
		l.open[name] = v
	}
	v.used = time.Now()
	l.mu.Unlock()

	v.mu.Lock()
	defer v.mu.Unlock()
	if ctx.Err() != nil { // it has waited for long
		return seen{}, ctx.Err()
	}
	if v.seen.json != nil && time.Now().Before(v.next) {
		return v.seen, nil
	}
	l.copying.Lock()
	defer l.copying.Unlock()
	start := time.Now()
	err := v.look(ctx)
	v.next = time.Now().Add(max(copyEvery, copyRest*time.Since(start)))
	if err != nil {
		v.forget()
		return seen{}, err
	}
	return v.seen, nil
}

func (v *viewer) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forget()
}

// forget closes what is open. The caller holds mu.
func (v *viewer) forget() {
	if v.pace != nil {
		v.pace.stop()
	}
	if v.source != nil {
		v.source.Close()
	}
	v.source, v.pace, v.seen, v.tensor, v.image = nil, nil, seen{}, nil, nil
}

// A lookMessage is what the page gets of a look. Numbers that may be larger than JavaScript's are strings.
type lookMessage struct {
	ID       string       `json:"id"`
	Label    string       `json:"label"`
	Kind     string       `json:"kind"`
	Size     int64        `json:"size"`
	Capacity int64        `json:"capacity"`
	Writer   string       `json:"writer"`
	Version  string       `json:"version"`
	Header   []field      `json:"header"`
	Slots    []slotState  `json:"slots,omitzero"`
	Readers  []lookReader `json:"readers,omitzero"`
	Problem  string       `json:"problem,omitempty"` // why there is no tensor
	Tensor   *lookTensor  `json:"tensor,omitempty"`
	Picture  *lookPicture `json:"picture,omitempty"`
	Pace     *paceMessage `json:"pace,omitempty"`
}

type lookReader struct {
	Reader  int    `json:"reader"`
	Process int    `json:"process"`
	Behind  uint64 `json:"behind"` // frames that it has not taken
	Held    int    `json:"held"`
	Dead    bool   `json:"dead"`
}

type lookTensor struct {
	Version   string `json:"version"`
	DType     string `json:"dtype"`
	Shape     []int  `json:"shape"`
	Bytes     int    `json:"bytes"`
	Elements  int    `json:"elements"`
	Of        string `json:"of,omitempty"`
	NaN       int    `json:"nan"`
	Infinite  int    `json:"infinite"`
	Min       string `json:"min,omitempty"`
	Max       string `json:"max,omitempty"`
	Mean      string `json:"mean,omitempty"`
	Low       string `json:"low,omitempty"` // the histogram's bounds, short
	High      string `json:"high,omitempty"`
	Histogram []int  `json:"histogram,omitempty"`
}

type lookPicture struct {
	Width       int    `json:"width"` // as it is sent
	Height      int    `json:"height"`
	WholeWidth  int    `json:"whole_width"`
	WholeHeight int    `json:"whole_height"`
	Key         string `json:"key"` // tells it from others, for its address
}

// look looks anew. The caller holds mu.
func (v *viewer) look(ctx context.Context) error {
	header, err := live.Stat(v.name)
	if err != nil {
		return err
	}
	if v.source != nil && !v.source.Same(&header) { // it was made anew
		v.forget()
	}
	if v.source == nil {
		if v.source, err = live.Open(v.name); err != nil {
			return err
		}
		v.pace = newPace(v.source)
	}
	m := lookMessage{ID: idOf(v.name), Label: labelOf(v.name), Kind: header.Kind, Capacity: header.Capacity,
		Writer: header.Writer.String(), Version: fmt.Sprint(header.Version), Pace: v.pace.message(time.Now())}
	if m.Size, err = v.source.Size(); err != nil {
		return err
	}
	head, slots, err := v.source.Headers()
	if err != nil {
		return err
	}
	if v.source.Stream {
		h := streamHeaders{head, slots}
		m.Header, m.Slots, m.Readers = h.explain(), h.slotStates(), []lookReader{}
		for _, r := range header.Readers {
			reader := lookReader{Reader: r.Number, Process: r.Process, Held: r.Held, Dead: r.Dead}
			if r.Next != 0 && r.Next <= header.Version {
				reader.Behind = (header.Version-r.Next)/2 + 1
			}
			m.Readers = append(m.Readers, reader)
		}
	} else {
		m.Header = explain(head)
	}
	switch err := v.lookAtTensor(ctx); {
	case err == nil:
	case errors.Is(err, judemap.ErrWriterDied):
		m.Problem = "its writer died in the middle of a commit"
		v.tensor, v.image, v.seen.png = nil, nil, nil
	case errors.Is(err, live.ErrTorn): // what was seen last is most likely close to it
		m.Problem = "commits leave no time for a copy"
	default:
		m.Problem = lookProblem(err)
		v.tensor, v.image, v.seen.png = nil, nil, nil
	}
	m.Tensor, m.Picture = v.tensor, v.image
	v.seen.json, err = json.Marshal(&m)
	return err
}

// lookProblem says why a tensor can't be shown.
func lookProblem(err error) string {
	switch {
	case errors.Is(err, judemap.ErrEmpty):
		return "nothing was committed yet, or the last commit was given up"
	case errors.Is(err, live.ErrTooLarge):
		return fmt.Sprintf("it has more than the %s that are copied for a look", bytesText(lookBytes))
	}
	return err.Error()
}

// lookAtTensor looks at the tensor, and its picture if it is one.
func (v *viewer) lookAtTensor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, copyPatience)
	defer cancel()
	t, err := v.source.Copy(ctx, lookBytes)
	if err != nil {
		return err
	}
	a := array{t.Shape, t.DType, t.Data}
	s, err := summarize(a)
	if err != nil {
		return err
	}
	v.tensor = &lookTensor{Version: fmt.Sprint(t.Version), DType: t.DType.String(), Shape: t.Shape, Bytes: len(t.Data),
		Elements: s.Elements, Of: s.Of, NaN: s.NaN, Infinite: s.Infinite, Min: s.Min.String(), Max: s.Max.String(), Histogram: s.fine}
	if s.fine != nil {
		v.tensor.Mean, v.tensor.Low, v.tensor.High = fmt.Sprintf("%.6g", s.Mean), fmt.Sprintf("%.4g", s.low), fmt.Sprintf("%.4g", s.high)
	}
	v.image, v.seen.png = nil, nil
	whole, err := pictureOf(a)
	if err != nil {
		return nil // it is none
	}
	shown := within(whole, pictureSide)
	var text bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&text, shown); err != nil {
		return err
	}
	v.looked++
	v.image = &lookPicture{shown.Bounds().Dx(), shown.Bounds().Dy(), whole.Bounds().Dx(), whole.Bounds().Dy(), fmt.Sprint(v.looked)}
	v.seen.png = text.Bytes()
	return nil
}

// within returns a picture that is no larger than side in each direction.
func within(picture image.Image, side int) image.Image {
	size := picture.Bounds().Size()
	if size.X <= side && size.Y <= side {
		return picture
	}
	longer := max(size.X, size.Y)
	small := image.NewNRGBA(image.Rect(0, 0, max(1, size.X*side/longer), max(1, size.Y*side/longer)))
	draw.ApproxBiLinear.Scale(small, small.Bounds(), picture, picture.Bounds(), draw.Src, nil)
	return small
}

// A pace looks often at a version, to know the times between commits.
type pace struct {
	source *live.Source
	end    chan struct{}
	ended  chan struct{}

	mu    sync.Mutex
	gaps  []gap // the newest last
	since time.Time
}

// A gap is the time from one change of the version that was found to the next. Where several commits came in it, they are
// taken to be equally far apart.
type gap struct {
	at      time.Time
	each    time.Duration
	commits uint64
}

const (
	paceEvery  = 2 * time.Millisecond // how exact the times are
	paceLength = 10 * time.Second     // of what is told
	mostGaps   = 5000
)

// A paceMessage says how long the times between commits were.
type paceMessage struct {
	Commits  uint64  `json:"commits"`
	Seconds  float64 `json:"seconds"` // in which they were seen
	Least    float64 `json:"least_ms"`
	Median   float64 `json:"median_ms"`
	Greatest float64 `json:"greatest_ms"`
}

func newPace(source *live.Source) *pace {
	p := &pace{source: source, end: make(chan struct{}), ended: make(chan struct{}), since: time.Now()}
	go p.run()
	return p
}

func (p *pace) stop() {
	close(p.end)
	<-p.ended
}

func (p *pace) run() {
	defer close(p.ended)
	ticker := time.NewTicker(paceEvery)
	defer ticker.Stop()
	var changed time.Time // when the version changed last; zero: not yet
	before, err := p.source.Version()
	for err == nil {
		select {
		case <-ticker.C:
		case <-p.end:
			return
		}
		var version uint64
		if version, err = p.source.Version(); err != nil {
			return // it was cut short
		}
		if commits := version/2 - before/2; commits > 0 && version > before {
			at := time.Now()
			if !changed.IsZero() {
				p.add(gap{at, at.Sub(changed) / time.Duration(min(commits, 1<<30)), commits})
			}
			changed = at
		}
		before = version
	}
}

func (p *pace) add(g gap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := 0
	for old < len(p.gaps) && (g.at.Sub(p.gaps[old].at) > paceLength || len(p.gaps)-old >= mostGaps) {
		old++
	}
	p.gaps = append(slices.Delete(p.gaps, 0, old), g)
}

// message returns nil if too few commits were seen to say anything.
func (p *pace) message(now time.Time) *paceMessage {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := &paceMessage{Seconds: min(paceLength, now.Sub(p.since)).Seconds()}
	var each []float64
	for _, g := range p.gaps {
		if now.Sub(g.at) <= paceLength {
			m.Commits += g.commits
			each = append(each, g.each.Seconds()*1e3)
		}
	}
	if len(each) == 0 {
		return nil
	}
	slices.Sort(each)
	m.Least, m.Median, m.Greatest = each[0], each[len(each)/2], each[len(each)-1]
	return m
}
