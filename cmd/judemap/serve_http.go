package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/judemap/judemap/internal/live"
)

//go:embed page
var pageFiles embed.FS

// mostStreams is how many pages can be sent samples at once.
const mostStreams = 32

// A server serves the page, and what it asks for. Everything but the page's own files needs the token, or the cookie that
// one with the token gets.
type server struct {
	token   string
	cookie  string // its name: cookies are not kept apart by port
	hosts   map[string]bool
	feed    *feed
	looks   *looks
	ctx     context.Context // ends with serve; streams end then
	tickets struct {
		sync.Mutex
		secret string // good for one use; "": none
		until  time.Time
	}
	streams chan struct{}
}

func newServer(address *net.TCPAddr, interval time.Duration) *server {
	port := strconv.Itoa(address.Port)
	s := &server{token: rand.Text() + rand.Text(), cookie: "judemap-" + port, feed: newFeed(interval), looks: newLooks(),
		ctx: context.Background(), streams: make(chan struct{}, mostStreams)}
	// Another name that leads here may be one that some other site has, whose scripts could then read what is served.
	s.hosts = map[string]bool{net.JoinHostPort(address.IP.String(), port): true, "localhost:" + port: true}
	return s
}

// ticket returns a secret that is as good as the token, but once, and for a minute. The arguments of a program, which starts
// a browser, can be seen by all users.
func (s *server) ticket(now time.Time) string {
	s.tickets.Lock()
	defer s.tickets.Unlock()
	s.tickets.secret, s.tickets.until = rand.Text(), now.Add(time.Minute)
	return s.tickets.secret
}

func (s *server) redeem(ticket string, now time.Time) bool {
	s.tickets.Lock()
	defer s.tickets.Unlock()
	if s.tickets.secret == "" || now.After(s.tickets.until) || !same(ticket, s.tickets.secret) {
		return false
	}
	s.tickets.secret = ""
	return true
}

// same compares secrets in a time that tells nothing of them.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// serve serves until ctx ends.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.ctx = ctx
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel() // before Wait
	running.Go(func() { s.feed.run(ctx) })
	running.Go(func() { s.looks.run(ctx) })

	h := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancelEnd()
	if h.Shutdown(end) != nil { // somebody doesn't take what is sent
		_ = h.Close()
	}
	return nil
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	for name, kind := range map[string]string{"page.css": "text/css", "page.js": "text/javascript"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { s.file(w, r, name, kind) })
	}
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /look", s.look)
	mux.HandleFunc("GET /picture", s.picture)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "+
			"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Cache-Control", "no-store")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("X-Frame-Options", "DENY")
		if !s.hosts[r.Host] {
			http.Error(w, "The page is not served under this name.", http.StatusMisdirectedRequest)
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); r.URL.Path != "/" && site != "" && site != "same-origin" && site != "none" {
			http.Error(w, "This is for the page alone.", http.StatusForbidden)
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(30 * time.Second))
		if r.URL.Path != "/" && !s.allowed(r) {
			http.Error(w, needsToken, http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

const needsToken = "This needs the address with the token that \"judemap serve\" has printed."

// allowed says whether a request has the cookie.
func (s *server) allowed(r *http.Request) bool {
	cookie, err := r.Cookie(s.cookie)
	return err == nil && same(cookie.Value, s.token)
}

// page serves the page. With the token it makes it a cookie, and has the browser ask again, without.
func (s *server) page(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Has("token") && same(query.Get("token"), s.token) || query.Has("ticket") && s.redeem(query.Get("ticket"), time.Now()) {
		http.SetCookie(w, &http.Cookie{Name: s.cookie, Value: s.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if !s.allowed(r) || r.URL.RawQuery != "" {
		http.Error(w, needsToken, http.StatusForbidden)
		return
	}
	s.file(w, r, "index.html", "text/html")
}

func (s *server) file(w http.ResponseWriter, _ *http.Request, name, kind string) {
	text, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind+"; charset=utf-8")
	_, _ = w.Write(text)
}

// events sends samples, as server-sent events. A client that takes them slowly gets fewer, and none is kept for it.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "5")
		http.Error(w, fmt.Sprintf("%d pages are open already.", mostStreams), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	leave := s.feed.join()
	defer leave()
	_, err := fmt.Fprint(w, "retry: 1000\n\n")
	for e := s.feed.newest(); err == nil; {
		if e.text != nil {
			_ = control.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if _, err = w.Write(e.text); err == nil {
				err = control.Flush()
			}
		}
		select {
		case <-e.next:
			e = s.feed.newest()
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// lookAt looks at the segment or stream that the request names. False: it has answered with what is wrong.
func (s *server) lookAt(w http.ResponseWriter, r *http.Request) (seen, bool) {
	name, ok := nameOf(w, r)
	if !ok {
		return seen{}, false
	}
	found, err := s.looks.at(r.Context(), name)
	if err != nil {
		lookFailed(w, err)
		return seen{}, false
	}
	return found, true
}

// look sends what can be seen of one segment or stream.
func (s *server) look(w http.ResponseWriter, r *http.Request) {
	seen, ok := s.lookAt(w, r)
	if !ok {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(seen.json)
}

// picture sends the picture of the last look.
func (s *server) picture(w http.ResponseWriter, r *http.Request) {
	seen, ok := s.lookAt(w, r)
	if !ok {
		return
	}
	if seen.png == nil {
		http.Error(w, "There is no picture of it.", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "image/png")
	_, _ = w.Write(seen.png)
}

func lookFailed(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "There is no such segment or stream any more.", http.StatusNotFound)
	case errors.Is(err, fs.ErrInvalid):
		http.Error(w, "No segment or stream can have this name.", http.StatusBadRequest)
	default:
		http.Error(w, live.WhyNot(err), http.StatusServiceUnavailable)
	}
}

// A name may have any bytes, and JSON only has characters: the page knows them by an id.
func idOf(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

// labelOf returns a name as the page shows it: as it is, or quoted if there is something in it that can't be seen, or quotes.
func labelOf(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// nameOf returns the name whose id a request has.
func nameOf(w http.ResponseWriter, r *http.Request) (name string, ok bool) {
	bytes, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("id"))
	if err != nil || len(bytes) == 0 {
		http.Error(w, "The id is none.", http.StatusBadRequest)
		return "", false
	}
	return string(bytes), true
}

// A feed samples all segments and streams for as long as somebody listens.
type feed struct {
	interval time.Duration
	joined   chan struct{} // wakes run when the first one listens

	mu        sync.Mutex
	listeners int
	current   *feedEvent
}

// A feedEvent is a sample in the form in which all clients are sent it. next is closed when there is a newer one.
type feedEvent struct {
	text []byte // nil: there is none yet
	next chan struct{}
}

func newFeed(interval time.Duration) *feed {
	return &feed{interval: interval, joined: make(chan struct{}, 1), current: &feedEvent{next: make(chan struct{})}}
}

func (f *feed) join() (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners++
	if f.listeners == 1 {
		f.current = &feedEvent{next: make(chan struct{})} // what there is, is old
		select {
		case f.joined <- struct{}{}:
		default:
		}
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.listeners--
	}
}

func (f *feed) newest() *feedEvent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current
}

// publish makes a sample, which is JSON, the newest event.
func (f *feed) publish(sample []byte) (listeners int) {
	text := fmt.Appendf(nil, "event: sample\ndata: %s\n\n", sample)
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.current
	f.current = &feedEvent{text, make(chan struct{})}
	close(before.next)
	return f.listeners
}

func (f *feed) run(ctx context.Context) {
	sampler := live.NewSampler()
	ticker := time.NewTicker(f.interval)
	defer ticker.Stop()
	for listeners := 0; ; {
		if listeners == 0 {
			sampler.Rest()
			select {
			case <-f.joined:
			case <-ctx.Done():
				return
			}
			ticker.Reset(f.interval)
		}
		listeners = f.publish(sampleJSON(sampler))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// A servedRow is a row with what the page needs: names as an id, and as text to show.
type servedRow struct {
	ID    string `json:"id"`
	Label string `json:"label"`
	*live.Row
}

func sampleJSON(sampler *live.Sampler) []byte {
	var message struct {
		Time     time.Time   `json:"time"`
		Interval float64     `json:"interval_seconds"`
		Problem  string      `json:"problem,omitempty"`
		Rows     []servedRow `json:"rows"`
	}
	sample, err := sampler.Sample()
	if err != nil {
		message.Problem = err.Error()
	}
	message.Time, message.Interval, message.Rows = sample.Time, sample.Interval.Seconds(), []servedRow{}
	for i := range sample.Rows {
		row := &sample.Rows[i]
		message.Rows = append(message.Rows, servedRow{idOf(row.Name), labelOf(row.Name), row})
	}
	data, err := json.Marshal(&message)
	if err != nil { // can't be: there is nothing in it that has no JSON
		data, _ = json.Marshal(map[string]string{"problem": err.Error()})
	}
	return data
}
