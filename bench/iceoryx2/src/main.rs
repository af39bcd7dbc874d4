//! What iceoryx2 does where the benchmarks of the Go package do the same with judemap. It prints lines of a Go benchmark.
//!
//! `iceoryx2_bench ping SIZE WAIT ROUNDS` is `BenchmarkRoundTrip`: how long a payload takes to a second process, and
//! another one back. Each side fills one in place and sums the one that it gets.
//!
//! `iceoryx2_bench frames SIZE WAIT FRAMES` is `BenchmarkFrames`: how many frames a second reach a second process, which
//! sums every one. None is lost: the publisher has a buffer of 4 at the subscriber, and with that full sends again until it
//! is delivered. (`RetryUntilDelivered` yields the processor 10,000 times before it sleeps, with WAIT `blocking` too: its
//! publisher has nothing to block on.) Frames are filled in place.
//!
//! With WAIT `blocking` there is an event service beside the publish-subscribe service: the sender notifies after it sent,
//! and the receiver, finding nothing, blocks in its listener. With `polling` the receiver calls `receive` until there is
//! something.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::mem::MaybeUninit;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs, thread};

use iceoryx2::port::{listener::Listener, notifier::Notifier, publisher::Publisher, subscriber::Subscriber};
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::{event, publish_subscribe};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What comes before that which is measured: a tenth.
fn warm_up(count: u64) -> u64 {
    count / 10
}

/// One direction's sending end.
struct Sender {
    publisher: Publisher<ipc::Service, [u64], ()>,
    notifier: Option<Notifier<ipc::Service>>, // None: the receiver polls
}

impl Sender {
    /// Sends so many words, which `fill` writes in place: all of them.
    fn send(&self, words: usize, fill: impl FnOnce(&mut [MaybeUninit<u64>])) -> Result<()> {
        let mut sample = self.publisher.loan_slice_uninit(words)?;
        fill(sample.payload_mut());
        unsafe { sample.assume_init() }.send()?;
        if let Some(notifier) = &self.notifier {
            notifier.notify()?;
        }
        Ok(())
    }
}

/// One direction's receiving end.
struct Receiver {
    subscriber: Subscriber<ipc::Service, [u64], ()>,
    listener: Option<Listener<ipc::Service>>, // None: polls
}

impl Receiver {
    /// Waits for the next payload, and says whether it is the right one.
    fn receive(&self, right: impl FnOnce(&[u64]) -> bool) -> Result<()> {
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                return if right(&sample) {
                    Ok(())
                } else {
                    Err("another payload was received".into())
                };
            }
            if let Some(listener) = &self.listener {
                listener.blocking_wait(|_| {})?;
            }
        }
    }
}

/// Sends payload `number`: all its bytes are the number's low byte.
fn send_filled(to: &Sender, words: usize, number: u64) -> Result<()> {
    // By memset, as judemap fills: with words.fill(), a loop of the compiler, fewer frames pass.
    to.send(words, |words| unsafe {
        std::ptr::write_bytes(words.as_mut_ptr(), number as u8, words.len());
    })
}

/// Receives payload `number`, and sums it.
fn receive_summed(from: &Receiver, words: usize, number: u64) -> Result<()> {
    let right = ((number & 0xff) * 0x0101_0101_0101_0101).wrapping_mul(words as u64);
    from.receive(|got| got.len() == words && got.iter().fold(0u64, |sum, &word| sum.wrapping_add(word)) == right)
}

/// The services of one run. Their files bear the run's number (the process id of ping), so that runs don't meet, and
/// nothing but the run's own files is taken away after it.
struct Run {
    node: Node<ipc::Service>,
    blocking: bool,
    words: usize, // of a payload
}

impl Run {
    fn prefix(run: u32) -> String {
        format!("judemap_bench_{run}_")
    }

    fn folder(run: u32) -> String {
        format!("{}/{}iceoryx2", env::temp_dir().display(), Self::prefix(run))
    }

    fn new(run: u32, wait: &str, bytes: usize) -> Result<Self> {
        let blocking = match wait {
            "blocking" => true,
            "polling" => false,
            _ => return Err(format!("WAIT is {wait:?}, not blocking or polling").into()),
        };
        let mut config = Config::default();
        config.global.set_root_path(&Path::new(Self::folder(run).as_bytes())?);
        config.global.prefix = FileName::new(Self::prefix(run).as_bytes())?;
        let node = NodeBuilder::new().config(&config).create()?;
        Ok(Run {
            node,
            blocking,
            words: bytes / 8,
        })
    }

    fn sender(&self, way: &str) -> Result<Sender> {
        let (data, event) = self.services(way)?;
        let publisher = data
            .publisher_builder()
            .initial_max_slice_len(self.words)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        let notifier = event.map(|event| event.notifier_builder().create()).transpose()?;
        Ok(Sender { publisher, notifier })
    }

    fn receiver(&self, way: &str) -> Result<Receiver> {
        let (data, event) = self.services(way)?;
        let subscriber = data.subscriber_builder().create()?;
        let listener = event.map(|event| event.listener_builder().create()).transpose()?;
        Ok(Receiver { subscriber, listener })
    }

    #[allow(clippy::type_complexity)]
    fn services(
        &self,
        way: &str,
    ) -> Result<(
        publish_subscribe::PortFactory<ipc::Service, [u64], ()>,
        Option<event::PortFactory<ipc::Service>>,
    )> {
        let name = way.try_into()?;
        let data = self
            .node
            .service_builder(&name)
            .publish_subscribe::<[u64]>()
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size(4)
            .open_or_create()?;
        let mut event = None;
        if self.blocking {
            event = Some(self.node.service_builder(&name).event().open_or_create()?);
        }
        Ok((data, event))
    }

    /// Takes away what is left of the run's files, which after a clean end is the folder.
    fn sweep(run: u32) {
        let _ = fs::remove_dir_all(Self::folder(run));
        for file in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with(&Self::prefix(run)) {
                let _ = fs::remove_file(file.path());
            }
        }
    }
}

/// The other process, which does not outlive this one.
struct Other {
    child: Child,
    over: Arc<AtomicBool>, // its end is no surprise
}

impl Other {
    /// Starts it, and returns when it is ready. Should it end before its last round, it ends this process too, which
    /// else would wait for it without end.
    fn start(role: &str, wait: &str, bytes: usize, rounds: u64) -> Result<Self> {
        let id = std::process::id();
        let mut child = Command::new(env::current_exe()?)
            .args([role, wait, &bytes.to_string(), &rounds.to_string(), &id.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let over = Arc::new(AtomicBool::new(false));
        let other = Other {
            child,
            over: over.clone(),
        };
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line != "ready\n" {
            return Err("the other process did not start".into());
        }
        thread::spawn(move || {
            let mut rest = String::new();
            let _ = output.read_to_string(&mut rest);
            if rest != "done\n" && !over.load(Ordering::SeqCst) {
                eprintln!("iceoryx2_bench: the other process ended early");
                Run::sweep(id);
                std::process::exit(1);
            }
        });
        Ok(other)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Other {
    /// Waits for its end.
    fn end(mut self) -> Result<()> {
        let _stdin = self.child.stdin.take(); // wait would close it, and the other take that for the end of this process
        if !self.child.wait()?.success() {
            return Err("the other process failed".into());
        }
        Ok(())
    }
}

fn ping(bytes: usize, wait: &str, rounds: u64) -> Result<()> {
    let run = Run::new(std::process::id(), wait, bytes)?;
    let (there, back) = (run.sender("there")?, run.receiver("back")?);
    let other = Other::start("pong", wait, bytes, rounds)?;
    let mut each = Vec::with_capacity(rounds as usize);
    for round in 0..rounds {
        let start = Instant::now();
        send_filled(&there, run.words, round)?;
        receive_summed(&back, run.words, round)?;
        each.push(start.elapsed().as_nanos() as u64);
    }
    other.end()?;
    let mut each = each.split_off(warm_up(rounds) as usize);
    each.sort_unstable();
    let mean = each.iter().sum::<u64>() as f64 / each.len() as f64;
    let (p50, p99) = (each[each.len() / 2], each[each.len() * 99 / 100]);
    let count = each.len();
    println!(
        "BenchmarkRoundTrip/size={bytes}/wait={wait}/by=iceoryx2 {count} {mean:.1} ns/op {p50} p50-ns {p99} p99-ns"
    );
    Ok(())
}

fn frames(bytes: usize, wait: &str, frames: u64) -> Result<()> {
    let run = Run::new(std::process::id(), wait, bytes)?;
    let there = run.sender("there")?;
    let other = Other::start("sum", wait, bytes, frames)?;
    let mut start = Instant::now();
    for number in 0..frames {
        if number == warm_up(frames) {
            start = Instant::now();
        }
        send_filled(&there, run.words, number)?;
    }
    other.end()?;
    let count = frames - warm_up(frames);
    let each = start.elapsed().as_nanos() as f64 / count as f64;
    let per_second = 1e9 / each;
    println!("BenchmarkFrames/size={bytes}/wait={wait}/by=iceoryx2 {count} {each:.1} ns/op {per_second:.0} frames/s");
    Ok(())
}

/// The other process: `pong` sends back what it gets, and `sum` sums it.
fn other(role: &str, wait: &str, bytes: usize, rounds: u64, id: u32) -> Result<()> {
    thread::spawn(move || {
        // the first process's end is the end of this one, however it ends
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        Run::sweep(id);
        std::process::exit(1);
    });
    let run = Run::new(id, wait, bytes)?;
    let there = run.receiver("there")?;
    if role == "pong" {
        let back = run.sender("back")?;
        println!("ready");
        for round in 0..rounds {
            receive_summed(&there, run.words, round)?;
            send_filled(&back, run.words, round)?;
        }
    } else {
        println!("ready");
        for number in 0..rounds {
            receive_summed(&there, run.words, number)?;
        }
    }
    println!("done");
    Ok(())
}

fn main() -> ExitCode {
    set_log_level(LogLevel::Error);
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |s: &str| s.parse::<u64>().map_err(|e| format!("{s:?}: {e}"));
    let swept = |result: Result<()>| {
        Run::sweep(std::process::id());
        result
    };
    let result = match args[..] {
        [what @ ("ping" | "frames"), bytes, wait, count] => match (number(bytes), number(count)) {
            (Ok(bytes), Ok(count)) => {
                let run = if what == "ping" { ping } else { frames };
                swept(run(bytes as usize, wait, count.max(10)))
            }
            _ => Err("SIZE and the count are numbers".into()),
        },
        [role @ ("pong" | "sum"), wait, bytes, rounds, id] => match (number(bytes), number(rounds), number(id)) {
            (Ok(bytes), Ok(rounds), Ok(id)) => other(role, wait, bytes as usize, rounds, id as u32),
            _ => Err("pong and sum are started by ping and frames".into()),
        },
        _ => Err("usage: iceoryx2_bench ping SIZE blocking|polling ROUNDS\n       iceoryx2_bench frames SIZE blocking|polling FRAMES".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("iceoryx2_bench: {err}");
            ExitCode::FAILURE
        }
    }
}
