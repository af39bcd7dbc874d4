package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/live"
)

// startServer serves until the test ends.
func startServer(t *testing.T) (s *server, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = newServer(listener.Addr().(*net.TCPAddr), 100*time.Millisecond)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("the server does not end")
		}
	})
	return s, "http://" + listener.Addr().String()
}

// client returns a client that has been where the token is wanted.
func client(t *testing.T, s *server, address string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	response, err := c.Get(address + "/?token=" + s.token)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Request.URL.RawQuery != "" {
		t.Fatalf("%s at %v", response.Status, response.Request.URL)
	}
	return c
}

// fetch returns an answer's body. The answer must be one of that status.
func fetch(t *testing.T, c *http.Client, address string, status int) []byte {
	t.Helper()
	response, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status {
		t.Fatalf("%s: %s, want %d: %s", address, response.Status, status, body)
	}
	return body
}

// Nothing is served without the token, to another name of the machine, to another site's page, or by another method.
func TestServeAccess(t *testing.T) {
	s, address := startServer(t)
	port := address[strings.LastIndex(address, ":")+1:]
	cookie := s.cookie + "=" + s.token
	ticket := s.ticket(time.Now())
	for _, test := range []struct {
		what, method, path string
		header             map[string]string
		status             int
	}{
		{"without a token", "GET", "/", nil, 403},
		{"a wrong token", "GET", "/?token=" + strings.Repeat("A", len(s.token)), nil, 403},
		{"an empty token", "GET", "/?token=", nil, 403},
		{"an empty ticket", "GET", "/?ticket=", nil, 403},
		{"the token", "GET", "/?token=" + s.token, nil, 303},
		{"a wrong ticket", "GET", "/?ticket=A", nil, 403},
		{"the ticket", "GET", "/?ticket=" + ticket, nil, 303},
		{"the ticket again", "GET", "/?ticket=" + ticket, nil, 403},
		{"the cookie", "GET", "/", map[string]string{"Cookie": cookie}, 200},
		{"a wrong cookie", "GET", "/", map[string]string{"Cookie": cookie + "A"}, 403},
		{"a cookie of another port", "GET", "/", map[string]string{"Cookie": "judemap-1=" + s.token}, 403},
		{"a file", "GET", "/page.js", map[string]string{"Cookie": cookie}, 200},
		{"a file without the cookie", "GET", "/page.js", nil, 403},
		{"events without the cookie", "GET", "/events", nil, 403},
		{"a look without the cookie", "GET", "/look?id=YQ", nil, 403},
		{"a picture without the cookie", "GET", "/picture?id=YQ", nil, 403},
		{"the token elsewhere", "GET", "/events?token=" + s.token, nil, 403},
		{"the name localhost", "GET", "/", map[string]string{"Cookie": cookie, "Host": "localhost:" + port}, 200},
		{"another name", "GET", "/", map[string]string{"Cookie": cookie, "Host": "evil.example:" + port}, 421},
		{"another name, with the token", "GET", "/?token=" + s.token, map[string]string{"Host": "evil.example:" + port}, 421},
		{"another port", "GET", "/", map[string]string{"Cookie": cookie, "Host": "127.0.0.1:1"}, 421},
		{"no port", "GET", "/", map[string]string{"Cookie": cookie, "Host": "127.0.0.1"}, 421},
		{"another site", "GET", "/events", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "cross-site"}, 403},
		{"another port's page", "GET", "/look?id=YQ", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "same-site"}, 403},
		{"the page itself", "GET", "/page.css", map[string]string{"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}, 200},
		{"POST", "POST", "/", map[string]string{"Cookie": cookie}, 405},
		{"PUT", "PUT", "/look?id=YQ", map[string]string{"Cookie": cookie}, 405},
		{"DELETE", "DELETE", "/look?id=YQ", map[string]string{"Cookie": cookie}, 405},
		{"OPTIONS", "OPTIONS", "/events", map[string]string{"Cookie": cookie, "Origin": "http://evil.example"}, 405},
		{"HEAD", "HEAD", "/", map[string]string{"Cookie": cookie}, 200},
		{"HEAD of events", "HEAD", "/events", map[string]string{"Cookie": cookie}, 200},
		{"no such path", "GET", "/etc/passwd", map[string]string{"Cookie": cookie}, 404},
		{"a path out of the folder", "GET", "/../serve.go", map[string]string{"Cookie": cookie}, 404},
		{"no id", "GET", "/look", map[string]string{"Cookie": cookie}, 400},
		{"an id that is none", "GET", "/look?id=*", map[string]string{"Cookie": cookie}, 400},
		{"a name with a slash", "GET", "/look?id=" + idOf("../a"), map[string]string{"Cookie": cookie}, 400},
		{"a name that is too long", "GET", "/picture?id=" + idOf(strings.Repeat("a", 300)), map[string]string{"Cookie": cookie}, 400},
		{"a header without end", "GET", "/", map[string]string{"Cookie": cookie, "X": strings.Repeat("a", 1<<20)}, 431},
	} {
		t.Run(test.what, func(t *testing.T) {
			if strings.HasPrefix(test.what, "a name") {
				segmentName(t) // it is skipped where there are none
			}
			request, err := http.NewRequest(test.method, address+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for key, value := range test.header {
				if request.Header.Set(key, value); key == "Host" {
					request.Host = value
				}
			}
			transport := &http.Transport{DisableKeepAlives: true}
			response, err := transport.RoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != test.status && !(test.path == "/../serve.go" && response.StatusCode/100 == 3) {
				t.Fatalf("%s, want %d", response.Status, test.status)
			}
			if response.StatusCode == 431 {
				return
			}
			for key, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
				"Access-Control-Allow-Origin": "", "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY"} {
				if got := response.Header.Get(key); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
			policy := response.Header.Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
				t.Errorf("the policy is %q", policy)
			}
			if bytes.Contains(body, []byte(s.token)) || strings.Contains(response.Header.Get("Location"), s.token) {
				t.Error("the answer has the token in it")
			}
			if set := response.Cookies(); test.status != 303 && len(set) != 0 {
				t.Errorf("a cookie: %v", set)
			} else if test.status == 303 && (len(set) != 1 || !set[0].HttpOnly || set[0].SameSite != http.SameSiteStrictMode ||
				set[0].Domain != "" || response.Header.Get("Location") != "/") {
				t.Errorf("cookies: %v; to %q", set, response.Header.Get("Location"))
			}
		})
	}
	if late := s.ticket(time.Now().Add(-2 * time.Minute)); s.redeem(late, time.Now()) {
		t.Error("a ticket of two minutes ago is good")
	}
}

// The page asks nobody else for anything.
func TestServePage(t *testing.T) {
	s, address := startServer(t)
	c := client(t, s, address)
	for path, kind := range map[string]string{"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"} {
		response, err := c.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.Header.Get("Content-Type") != kind+"; charset=utf-8" || len(body) == 0 {
			t.Errorf("%s: %d bytes of %s, %v", path, len(body), response.Header.Get("Content-Type"), err)
		}
		text := strings.ReplaceAll(string(body), "http://www.w3.org/2000/svg", "") // a name, not an address
		for _, no := range []string{"http:", "https:", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "@import", "url("} {
			if strings.Contains(text, no) {
				t.Errorf("%s has %q in it", path, no)
			}
		}
		if path == "/" && (strings.Contains(text, "style=") || strings.Contains(text, "<style") || strings.Contains(text, "onclick")) {
			t.Error("the page has what its policy forbids")
		}
	}
}

// sampleOf is a sample as the page gets it.
type sampleOf struct {
	Interval float64      `json:"interval_seconds"`
	Rows     []servedName `json:"rows"`
}

type servedName struct {
	ID    string `json:"id"`
	Label string `json:"label"`
	live.Row
}

// readSamples reads events until one is what is wanted, or the client's time is over.
func readSamples(t *testing.T, c *http.Client, address string, enough func(s *sampleOf) bool) {
	t.Helper()
	response, err := c.Get(address + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != 200 || !strings.HasPrefix(kind, "text/event-stream") {
		t.Fatalf("%s, %s", response.Status, kind)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var s sampleOf
		if err := json.Unmarshal([]byte(data), &s); err != nil {
			t.Fatal(err)
		}
		if enough(&s) {
			return
		}
	}
	t.Fatalf("the events end: %v", lines.Err())
}

// Samples come as events, with rates, with names that are text whatever is in them, and without what was removed.
func TestServeEvents(t *testing.T) {
	name := segmentName(t)
	segment, err := judemap.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { segment.Close() }) // after the end of commitFor
	commitFor(t, segment)
	odd := name + "-<script>\x1b[2J\xff"
	switch runtime.GOOS { // names are UTF-8
	case "darwin":
		odd = name + "<"
	case "windows":
		odd = strings.TrimSuffix(odd, "\xff")
	}
	other, err := judemap.Create(odd, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer judemap.Remove(odd)
	other.Close()

	s, address := startServer(t)
	c := client(t, s, address)
	readSamples(t, c, address, func(s *sampleOf) bool {
		found := slices.ContainsFunc(s.Rows, func(r servedName) bool { return r.ID == idOf(odd) })
		for _, r := range s.Rows {
			if r.ID == idOf(odd) && r.Label != labelOf(odd) {
				t.Errorf("the name is shown as %q", r.Label)
			}
			if s.Interval == 0 && r.CommitsPerSecond != 0 {
				t.Errorf("a rate in the first sample: %+v", r)
			}
			if r.Name == name && r.CommitsPerSecond > 0 {
				if r.BytesPerSecond != 12*r.CommitsPerSecond || r.Label != name || r.DType != "int16" {
					t.Errorf("%+v", r)
				}
				return found
			}
		}
		return false
	})
	if err := judemap.Remove(odd); err != nil {
		t.Fatal(err)
	}
	readSamples(t, c, address, func(s *sampleOf) bool {
		for _, r := range s.Rows {
			if r.ID == idOf(odd) {
				return false
			}
		}
		return true
	})
	fetch(t, c, address+"/look?id="+idOf(odd), 404)
	fetch(t, c, address+"/picture?id="+idOf(odd), 404)
}

// Clients that take nothing cost no memory, only so many are served, and none holds the end up.
func TestServeSlowClients(t *testing.T) {
	segmentName(t)
	s, address := startServer(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for range mostStreams {
		connection, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		if err := connection.(*net.TCPConn).SetReadBuffer(1024); err != nil {
			t.Fatal(err)
		}
		request := "GET /events HTTP/1.1\r\nHost: " + u.Host + "\r\nCookie: " + s.cookie + "=" + s.token + "\r\n\r\n"
		if _, err := io.WriteString(connection, request); err != nil {
			t.Fatal(err)
		}
	}
	for until := time.Now().Add(5 * time.Second); len(s.streams) < mostStreams; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d are served", len(s.streams))
		}
	}
	fetch(t, client(t, s, address), address+"/events", 503)
	large := bytes.Repeat([]byte("a"), 8<<20) // more than the kernel takes for a client
	used := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := used()
	s.feed.publish(large)
	time.Sleep(100 * time.Millisecond)
	if grown := used() - before; grown > 4*int64(len(large)) {
		t.Errorf("%d bytes more for an event of %d that all clients are being sent", grown, len(large))
	}
	for range 100 {
		s.feed.publish(large[:1<<20])
		time.Sleep(time.Millisecond)
	}
	if grown := used() - before; grown > 4*int64(len(large)) {
		t.Errorf("%d bytes more after 100 events of %d", grown, 1<<20)
	}
}

// until waits until something is so. A look at many bytes is followed by a pause, in which the next one is the same.
func until(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come about")
		}
	}
}

func status(t *testing.T, c *http.Client, address string) int {
	t.Helper()
	response, err := c.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// looked is a look as the page gets it.
type looked struct {
	lookMessage
	Tensor *lookTensor `json:"tensor"`
}

func lookAtName(t *testing.T, c *http.Client, address, name string) (l looked) {
	t.Helper()
	if err := json.Unmarshal(fetch(t, c, address+"/look?id="+idOf(name), 200), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// A look has the header, the values, and the picture of a segment; and sees it made anew, cut short and removed.
func TestServeLook(t *testing.T) {
	t.Parallel() // it waits for most of the time
	name := segmentName(t)
	s, address := startServer(t)
	c := client(t, s, address)
	fetch(t, c, address+"/look?id="+idOf(name), 404)

	segment, err := judemap.Create(name, 3000*2000)
	if err != nil {
		t.Fatal(err)
	}
	defer segment.Close()
	l := lookAtName(t, c, address, name)
	if l.Kind != "segment" || l.Tensor != nil || l.Picture != nil || !strings.HasPrefix(l.Problem, "nothing was committed") || len(l.Header) == 0 {
		t.Errorf("an empty segment: %+v", l)
	}
	fetch(t, c, address+"/picture?id="+idOf(name), 404)

	err = segment.Update([]int{2000, 3000}, judemap.Uint8, func(data []byte) error {
		for i := range data {
			data[i] = byte(i % 200)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return lookAtName(t, c, address, name).Tensor != nil })
	l = lookAtName(t, c, address, name)
	if l.Tensor == nil || l.Picture == nil || l.Problem != "" {
		t.Fatalf("a picture: %+v", l)
	}
	if diff := cmp.Diff(lookPicture{640, 426, 3000, 2000, "1"}, *l.Picture); diff != "" {
		t.Error(diff)
	}
	if l.Tensor.Min != "0" || l.Tensor.Max != "199" || l.Tensor.Mean != "99.5" || l.Tensor.Version != "2" || len(l.Tensor.Histogram) != 40 ||
		l.Tensor.Elements != 6e6 || l.Writer != "other" {
		t.Errorf("%+v", l.Tensor)
	}
	picture, err := png.Decode(bytes.NewReader(fetch(t, c, address+"/picture?id="+idOf(name), 200)))
	if err != nil || picture.Bounds().Dx() != 640 || picture.Bounds().Dy() != 426 {
		t.Errorf("a picture of %v: %v", picture, err)
	}

	segment.Close()
	if err := judemap.Remove(name); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return status(t, c, address+"/look?id="+idOf(name)) == 404 })

	stream, err := judemap.CreateStream(name, 3, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	reader, err := stream.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for range 3 {
		if err := stream.Fill(t.Context(), []int{4, 4}, judemap.Complex64, 1); err != nil {
			t.Fatal(err)
		}
	}
	until(t, func() bool {
		return status(t, c, address+"/look?id="+idOf(name)) == 200 && lookAtName(t, c, address, name).Tensor != nil
	})
	l = lookAtName(t, c, address, name)
	if l.Kind != "stream" || len(l.Slots) != 3 || len(l.Readers) != 1 || l.Tensor == nil || l.Tensor.Of != "magnitudes" || l.Picture != nil {
		t.Fatalf("a stream: %+v", l)
	}
	if diff := cmp.Diff(lookReader{Process: os.Getpid(), Behind: 3}, l.Readers[0]); diff != "" {
		t.Error(diff)
	}
	fetch(t, c, address+"/picture?id="+idOf(name), 404)

	if runtime.GOOS != "linux" {
		return
	}
	stream.CloseWait()
	if err := os.Truncate(filepath.Join(sharedMemory, name), 9000); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return status(t, c, address+"/look?id="+idOf(name)) == 503 })
	readSamples(t, c, address, func(s *sampleOf) bool {
		for _, r := range s.Rows {
			if r.Name == name {
				return r.Problem == "corrupt"
			}
		}
		return false
	})
}

// Looks are limited in number and rate, and what nobody looks at is closed.
func TestLooks(t *testing.T) {
	base := segmentName(t)
	l := newLooks()
	var segments []*judemap.Segment
	for i := range mostLooks + 2 {
		name := base + string(rune('a'+i))
		s, err := judemap.Create(name, 64)
		if err != nil {
			t.Fatal(err)
		}
		defer judemap.Remove(name)
		defer s.Close()
		segments = append(segments, s)
		if _, err := l.at(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.open) != mostLooks || l.open[base+"a"] != nil || l.open[base+"c"] == nil {
		t.Errorf("%d are open", len(l.open))
	}
	first, err := l.at(t.Context(), base+"c")
	if err != nil {
		t.Fatal(err)
	}
	if err := segments[2].Fill([]int{1}, judemap.Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if again, err := l.at(t.Context(), base+"c"); err != nil || !bytes.Equal(first.json, again.json) {
		t.Errorf("a look right after another is a new one: %v", err)
	}
	time.Sleep(copyEvery + 10*time.Millisecond)
	if again, err := l.at(t.Context(), base+"c"); err != nil || bytes.Equal(first.json, again.json) {
		t.Errorf("a look later is the same: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.run(ctx)
	if len(l.open) != 0 {
		t.Errorf("%d are open at the end", len(l.open))
	}
}

// Times between commits are those of the last seconds.
func TestPace(t *testing.T) {
	at := time.Unix(1000, 0)
	p := &pace{since: at.Add(-time.Minute)}
	if m := p.message(at); m != nil {
		t.Errorf("%+v of nothing", m)
	}
	for i, each := range []time.Duration{9, 1, 5, 3} {
		p.add(gap{at.Add(time.Duration(i-11) * time.Second), each * time.Millisecond, 2})
	}
	if diff := cmp.Diff(&paceMessage{Commits: 6, Seconds: 10, Least: 1, Median: 3, Greatest: 5}, p.message(at)); diff != "" {
		t.Error(diff)
	}
	for range 2 * mostGaps {
		p.add(gap{at, time.Millisecond, 1})
	}
	if len(p.gaps) > mostGaps {
		t.Errorf("%d are kept", len(p.gaps))
	}
}

func TestLabelOf(t *testing.T) {
	for name, want := range map[string]string{"a": "a", "a b <i>": "a b <i>", "名": "名", "a\x1b[m": `"a\x1b[m"`, `"a"`: `"\"a\""`, "\xff": `"\xff"`,
		"\u202ea": `"\u202ea"`} {
		if got := labelOf(name); got != want {
			t.Errorf("%q is shown as %s, want %s", name, got, want)
		}
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]string{"127.0.0.1:0": "127.0.0.1", "localhost:80": "127.0.0.1", "[::1]:0": "::1", "127.1.2.3:1": "127.1.2.3",
		"": "", ":0": "", "0.0.0.0:0": "", "[::]:0": "", "10.0.0.1:0": "", "example.com:80": "", "127.0.0.1": "", "127.0.0.1:x": "", "127.0.0.1:70000": ""} {
		host, _, err := loopback(address)
		if host != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", address, host, err)
		}
	}
}

// The command prints the address and ends in order at an interrupt, with a page open.
func TestServeCommand(t *testing.T) {
	segmentName(t)
	cmd := exec.CommandContext(t.Context(), command, "serve", "--json", "--interval", "100ms")
	var failed strings.Builder
	cmd.Stderr = &failed
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var printed struct{ URL string }
	if err := json.NewDecoder(out).Decode(&printed); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(printed.URL)
	if err != nil || u.Hostname() != "127.0.0.1" || len(u.Query().Get("token")) < 40 {
		t.Fatalf("%q, %v", printed.URL, err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	fetch(t, c, printed.URL, 200)
	response, err := c.Get("http://" + u.Host + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	start := time.Now()
	if err := sendInterrupt(t, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || failed.Len() > 0 {
		t.Errorf("%v: %s", err, &failed)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it ended after %v", took)
	}
	if _, err := io.Copy(io.Discard, response.Body); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the events go on")
	}
}
