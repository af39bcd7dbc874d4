// Command tables makes Markdown tables of what `make bench` measured: medians, the least and the greatest in brackets,
// and ratios of the medians. It prints them, or puts them into a page, between the lines
//
//	<!-- NAME, by make bench -->
//	<!-- end -->
//
//	tables [-page FILE.md] BENCH.txt
//
// BENCH.txt has lines of Go benchmarks, and lines `machine: `, `date: ` and `commit: `, and `SKIP: ` with what was left
// out. Whoever is not measured has no row, or an empty cell.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"regexp"
	"strings"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("tables: ")
	page := flag.String("page", "", "a page to put the tables into")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: tables [-page FILE.md] BENCH.txt")
	}
	if err := run(flag.Arg(0), *page); err != nil {
		log.Fatal(err)
	}
}

func run(file, page string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	m, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if page == "" {
		for _, t := range tables {
			fmt.Printf("## %s\n\n%s\n", t.title, t.text(m))
		}
		return nil
	}
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	updated, err := fill(old, m)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return os.WriteFile(page, updated, 0o644)
}

// fill returns the page with the tables that it has a place for.
func fill(page []byte, m *measured) ([]byte, error) {
	for _, t := range tables {
		place := regexp.MustCompile(`(?s)(<!-- ` + t.name + `, by make bench -->\n).*?(<!-- end -->\n)`)
		found := place.FindSubmatchIndex(page)
		if found == nil {
			return nil, fmt.Errorf("has no place for the table %q", t.name)
		}
		page = bytes.Join([][]byte{page[:found[3]], []byte(t.text(m)), page[found[4]:]}, nil)
	}
	return page, nil
}

// A table is made of what was measured.
type table struct {
	name, title string
	text        func(*measured) string
}

var tables = []table{
	{"what", "How it was measured", provenance},
	{"short", "In short", short},
	{"comparison", "Beside others", comparison},
	{"calls", "Calls", calls},
	{"trips", "There and back between two processes", trips},
	{"frames", "Frames between two processes", frames},
	{"streams", "Frames through a stream", streams},
	{"process", "In one process", inProcess},
	{"load", "Under load", load},
}

// rows makes a Markdown table. Rows with nothing measured are to be left out by the caller.
func rows(head string, lines [][]string) string {
	var b strings.Builder
	columns := strings.Split(head, "|")
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, line := range lines {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(line, " | "))
	}
	return strings.ReplaceAll(strings.ReplaceAll(b.String(), "|  |", "| |"), "|  |", "| |")
}

func provenance(m *measured) string {
	text := fmt.Sprintf("%s. Measured on %s at commit %s, %d rounds in turn.\n", m.config["machine"], m.config["date"],
		m.config["commit"], m.rounds())
	for _, skipped := range m.skipped {
		text += "\nLeft out: " + skipped + ".\n"
	}
	return text
}

var payloads = []struct{ bytes, name string }{{"64", "64 B"}, {"602112", "588 KiB"}, {"8388608", "8 MiB"}}

func calls(m *measured) string {
	sizes := []struct{ bytes, name string }{{"24", "24 B"}, {"4096", "4 KiB"}, {"65536", "64 KiB"},
		{"602112", "588 KiB, a 224 × 224 picture"}, {"8388608", "8 MiB"}, {"67108864", "64 MiB"}}
	var lines [][]string
	add := func(call, size, ours, floor, floorName string) {
		a, f := m.get(ours, "ns/op"), m.get(floor, "ns/op")
		if a == nil {
			return
		}
		core := m.get(strings.Replace(ours, "by=judemap", "by=C++", 1), "ns/op")
		allocs := ""
		if n := m.get(ours, "allocs/op"); n != nil {
			allocs = fmt.Sprintf("%g", n.median())
		}
		lines = append(lines, []string{call, size, a.time(), core.time(), floorName + f.times(", "), ratio(a, f), allocs})
	}
	add("`Read` and `Valid`, a view", "any", "Read/by=judemap", "Call/by=floor", "an empty cgo call")
	for _, call := range []struct{ name, floor string }{{"Write", "memcpy"}, {"ReadInto", "memcpy"}, {"Fill", "memset"}} {
		for _, size := range sizes {
			of := call.name + "/size=" + size.bytes
			if size.bytes == "24" {
				add("`"+call.name+"`", size.name, of+"/by=judemap", "Call/by=floor", "an empty cgo call")
			} else {
				add("`"+call.name+"`", size.name, of+"/by=judemap", of+"/by=floor", call.floor)
			}
		}
	}
	for _, n := range []string{"1", "16", "256"} {
		of := "Wake/waiters=" + n
		add("two wakes, there and back, within a process", n+" waiting", of+"/by=judemap", of+"/by=floor", "channels")
	}
	return rows("call|size|judemap|of which the core, in C++|beside|ratio|allocations", lines)
}

// Between two processes, who is measured.
var peers = []struct{ by, name string }{
	{"floor", "*nothing but the protocol*"},
	{"C++", "judemap, C++"}, {"judemap", "judemap, Go"}, {"iceoryx2", "iceoryx2, Rust"}, {"socket", "Unix socket, Go"},
	{"pipe", "pipe, Go"}, {"Python", "judemap, Python"}, {"shared_memory", "`multiprocessing.shared_memory` and semaphores"},
}

// across makes a table with a row for each peer, and for each payload what was measured and its ratio to judemap's from Go.
func across(m *measured, benchmark, unit string, cell func(samples) string) string {
	var lines [][]string
	for _, peer := range peers {
		line, any := []string{peer.name}, false
		for _, size := range payloads {
			of := benchmark + "/size=" + size.bytes + "/wait=blocking/by="
			got, ours := m.get(of+peer.by, unit), m.get(of+"judemap", unit)
			any = any || got != nil
			line = append(line, cell(got), ratio(got, ours))
		}
		if any {
			lines = append(lines, line)
		}
	}
	head := "parked"
	for _, size := range payloads {
		head += "|" + size.name + "|ratio"
	}
	return rows(head, lines)
}

func trips(m *measured) string {
	var lines [][]string
	for _, wait := range []struct{ key, name string }{{"blocking", "parked"}, {"polling", "polling"}} {
		for _, peer := range peers {
			of := "RoundTrip/size=64/wait=" + wait.key + "/by="
			got := of + peer.by
			if m.get(got, "ns/op") == nil {
				continue
			}
			lines = append(lines, []string{peer.name + ", " + wait.name, m.get(got, "ns/op").time(), m.get(got, "p50-ns").time(),
				m.get(got, "p99-ns").time(), ratio(m.get(got, "p50-ns"), m.get(of+"judemap", "p50-ns"))})
		}
	}
	return across(m, "RoundTrip", "p50-ns", samples.time) + "\n64 B, in more detail:\n\n" +
		rows("|mean|median trip|99th of a hundred|ratio", lines)
}

func frames(m *measured) string { return across(m, "Frames", "frames/s", samples.count) }

func streams(m *measured) string {
	var lines [][]string
	for _, size := range []struct{ bytes, name string }{payloads[0], payloads[1], {"1048576", "1 MiB"}, payloads[2]} {
		for i, wait := range []string{"blocking", "spinning", "polling"} {
			get := func(by string) samples {
				return m.get("Frames/size="+size.bytes+"/wait="+wait+"/by="+by, "frames/s")
			}
			floor, core, ours, iceoryx2 := get("floor"), get("C++"), get("judemap"), get("iceoryx2")
			if core == nil {
				continue
			}
			name := size.name
			if i > 0 {
				name = ""
			}
			if wait == "blocking" {
				wait = "parked"
			}
			lines = append(lines, []string{name, wait, floor.count(), core.count(), ours.count(), iceoryx2.count(), ratio(core, floor),
				ratio(core, iceoryx2)})
		}
	}
	return rows("frame|waiting|floor|C++|Go|iceoryx2|C++ / floor|C++ / iceoryx2", lines)
}

func inProcess(m *measured) string {
	names := map[string]string{
		"stream": "judemap, a stream", "segment": "judemap, a segment", "RWMutex": "`sync.RWMutex`, and a copy",
		"atomic.Pointer": "`atomic.Pointer` to a fresh slice", "channel": "a channel of fresh slices",
		"recycled": "a channel of slices, and one to send them back",
	}
	get := func(of, unit string) samples { return m.get("InProcess/by="+of, unit) }
	var paced [][]string
	for _, by := range []string{"stream", "segment", "RWMutex", "atomic.Pointer", "channel"} {
		if get(by, "p50-ns") == nil {
			continue
		}
		paced = append(paced, []string{names[by], get(by, "p50-ns").time(), get(by, "p99-ns").time(),
			ratio(get(by, "p99-ns"), get("stream", "p99-ns")), get(by, "p50-age-ns").time(), get(by, "p99-age-ns").time(),
			get(by, "gc-%").percent(), get(by, "gc/s").count(), get(by, "B/frame").bytes()})
	}
	var queued [][]string
	for _, size := range payloads {
		for _, by := range []string{"stream", "channel", "recycled"} {
			of := "Queue/size=" + size.bytes + "/by="
			if got := m.get(of+by, "frames/s"); got != nil {
				queued = append(queued, []string{size.name, names[by], got.count(), ratio(got, m.get(of+"stream", "frames/s")),
					m.get(of+by, "gc-%").percent(), m.get(of+by, "B/frame").bytes()})
			}
		}
	}
	return rows("588 KiB, 1,000/s, 4 readers|hand over|its p99|ratio|to the end of the sum|its p99|collector, of all processor time|"+
		"collections/s|allocated for a frame", paced) +
		"\nAs fast as they go, one reader, none lost:\n\n" +
		rows("frame||frames/s|ratio|collector|allocated for a frame", queued)
}

func load(m *measured) string {
	var lines [][]string
	add := func(what string, ours samples, beside string, peer samples, cell func(samples) string) {
		if ours == nil {
			return
		}
		if peer == nil {
			beside = ""
		}
		lines = append(lines, []string{what, cell(ours), beside + peer.with(cell, ", "), ratio(ours, peer)})
	}
	among := func(by, unit string) samples { return m.get("WriterAmongReaders/by="+by, unit) }
	add("commits/s of a writer paced at 1,000/s, 8 readers that copy 588 KiB without a pause", among("judemap", "commits/s"),
		"`sync.RWMutex`", among("floor", "commits/s"), samples.count)
	add("its writes, p99", among("judemap", "p99-ns"), "`sync.RWMutex`", among("floor", "p99-ns"), samples.time)
	add("what its readers get, copies/s", among("judemap", "reads/s"), "`sync.RWMutex`", among("floor", "reads/s"), samples.count)
	held := func(by, unit string) samples { return m.get("HeldFrames/by="+by, unit) }
	add("commit of 588 KiB, 1,000/s, beside a process that works 10 ms on each frame it gets, p50", held("judemap", "p50-ns"),
		"without a reader", held("floor", "p50-ns"), samples.time)
	add("the same, p99", held("judemap", "p99-ns"), "without a reader", held("floor", "p99-ns"), samples.time)
	add("frames that changed while they were held", held("judemap", "invalid"), "", nil, samples.count)
	for _, n := range []string{"1", "16", "64"} {
		add("commit of 64 B to a stream, beside readers of another process: "+n, m.get("CommitBesideReaders/readers="+n+"/by=judemap", "ns/op"),
			"without readers", m.get("CommitBesideReaders/readers=0/by=judemap", "ns/op"), samples.time)
	}
	for _, of := range []struct{ key, name string }{{"segment", "a segment"}, {"stream", "a stream"},
		{"stream-every", "a stream, every frame"}, {"stream-spin", "a stream, `WithSpin`"}} {
		add("from a commit in another process to the view, "+of.name+", p50",
			m.get("CommitToView/of="+of.key+"/by=judemap", "p50-ns"), "", nil, samples.time)
	}
	for _, n := range []string{"10", "100", "1000"} {
		many := func(n, unit string) samples { return m.get("ManySegments/segments="+n+"/by=judemap", unit) }
		add("4,000 commits/s spread over "+n+" segments, commit to view, p50", many(n, "p50-ns"), "one segment", many("1", "p50-ns"), samples.time)
		add("the same, processor time of the reading process for a frame", many(n, "cpu-ns/frame"), "one segment", many("1", "cpu-ns/frame"), samples.time)
	}
	add("a ticker of 1 ms beside a parked reader, GOMAXPROCS=1, late by, p99", m.get("Ticker/by=judemap", "p99-ns"),
		"without it", m.get("Ticker/by=floor", "p99-ns"), samples.time)
	return rows("|judemap|beside|ratio", lines)
}

// short is the table for the README: what one looks at first.
func short(m *measured) string {
	var lines [][]string
	add := func(what, ours, name, peer, unit string, cell func(samples) string) {
		a, p := m.get(ours, unit), m.get(peer, unit)
		if a != nil && p != nil {
			lines = append(lines, []string{what, cell(a), name + ", " + cell(p), ratio(a, p)})
		}
	}
	add("a view: `Read` and `Valid`, any size", "Read/by=judemap", "an empty cgo call", "Call/by=floor", "ns/op", samples.time)
	add("`Write` of 588 KiB", "Write/size=602112/by=judemap", "memcpy", "Write/size=602112/by=floor", "ns/op", samples.time)
	add("`ReadInto` of 588 KiB", "ReadInto/size=602112/by=judemap", "memcpy", "ReadInto/size=602112/by=floor", "ns/op", samples.time)
	for _, peer := range []struct{ by, name string }{{"iceoryx2", "iceoryx2"}, {"socket", "Unix socket"}} {
		of := "RoundTrip/size=64/wait=blocking/by="
		add("64 B to another process and back, parked", of+"judemap", peer.name, of+peer.by, "p50-ns", samples.time)
	}
	// iceoryx2's publisher never parks, so it stands beside both: judemap that parks at once, and that spins first.
	const spinning, of = "Frames/size=602112/wait=spinning/by=", "Frames/size=602112/wait=blocking/by="
	const publisher = "iceoryx2, whose publisher does not park"
	add("frames/s of 588 KiB between processes, filled and summed; `WithSpin` of 10 µs", spinning+"judemap",
		"a program of nothing else", spinning+"floor", "frames/s", samples.count)
	add("frames/s of 588 KiB between processes, filled and summed; `WithSpin` of 10 µs", spinning+"judemap",
		publisher, of+"iceoryx2", "frames/s", samples.count)
	for _, peer := range []struct{ by, name string }{{"floor", "a program of nothing else"}, {"iceoryx2", publisher},
		{"socket", "Unix socket"}, {"pipe", "pipe"}} {
		add("the same, parked at once", of+"judemap", peer.name, of+peer.by, "frames/s", samples.count)
	}
	add("the same, in Python", of+"Python", "`multiprocessing.shared_memory`", of+"shared_memory", "frames/s", samples.count)
	add("the same, between goroutines", "Queue/size=602112/by=stream", "a channel of slices", "Queue/size=602112/by=channel", "frames/s", samples.count)
	for i := len(lines) - 1; i > 0; i-- {
		if lines[i][0] == lines[i-1][0] {
			lines[i][0], lines[i][1] = "", ""
		}
	}
	return rows("|judemap|beside|ratio", lines)
}

// comparison says what each gives, with what judemap reaches beside it.
func comparison(m *measured) string {
	frames := func(ours, peer string) string {
		of := "Frames/size=602112/wait=blocking/by="
		return ratio(m.get(of+ours, "frames/s"), m.get(of+peer, "frames/s"))
	}
	trip := func(ours, peer string) string {
		of := "RoundTrip/size=64/wait=blocking/by="
		return ratio(m.get(of+ours, "p50-ns"), m.get(of+peer, "p50-ns"))
	}
	of := func(ours, peer, unit string) string { return ratio(m.get(ours, unit), m.get(peer, unit)) }
	return rows("|between|knows shape and type|what is read stays whole|who waits|if a process dies|frames/s, ratio|round trip, ratio", [][]string{
		{"judemap", "goroutines, threads, processes; Go, C++, C, Python, Node", "yes", "copies and `View`; a stream's frame while it is held",
			"parks, or spins", "readers are told, and another process may write", "1", "1"},
		{"Go channels", "goroutines", "", "as long as nobody writes to the slice", "parks", "",
			of("Queue/size=602112/by=stream", "Queue/size=602112/by=channel", "frames/s"), of("Wake/waiters=1/by=judemap", "Wake/waiters=1/by=floor", "ns/op")},
		{"[iceoryx2](https://crates.io/crates/iceoryx2)", "processes; Rust, C, C++, Python, C#", "a type that both sides name", "a sample while it is held",
			"blocks in a listener for events, or polls", "others clean up after it",
			// Its publisher never parks.
			of("Frames/size=602112/wait=spinning/by=judemap", "Frames/size=602112/wait=blocking/by=iceoryx2", "frames/s") + " `WithSpin`, " +
				frames("judemap", "iceoryx2") + " parked", trip("judemap", "iceoryx2")},
		{"[shmipc](https://pkg.go.dev/github.com/cloudwego/shmipc-go)", "two processes; Go", "bytes", "a buffer until it is given back",
			"is told over a Unix or TCP connection", "", "not measured", "not measured"},
		{"[`multiprocessing.shared_memory`](https://docs.python.org/3/library/multiprocessing.shared_memory.html), with semaphores",
			"processes; Python", "bytes", "up to the program", "up to the program", "up to the program", frames("Python", "shared_memory"), trip("Python", "shared_memory")},
		{"[Triton's shared memory](triton.md)", "clients and the server", "in each request", "up to the program", "for the answer", "",
			"takes judemap's slots as its regions", ""},
		{"[jude-map](https://www.npmjs.com/package/jude-map)", "Node", "yes", "copies", "`readWait`", "", "not measured", "not measured"},
	})
}
