//! How long 64 bytes take from one process to another and back through iceoryx2.
//!
//! `round_trip ping WAIT ROUNDS` starts a second process, `pong`, makes ROUNDS round trips with it, and prints the time
//! of one as a line of a Go benchmark, with median and 99th of a hundred:
//! `BenchmarkRoundTrip/wait=WAIT/by=iceoryx2 ROUNDS MEAN ns/op MEDIAN p50-ns P99 p99-ns`. It stands beside
//! `BenchmarkRoundTrip` of the Go package, which does the same with judemap: the payload's elements derive from the
//! number of the round, and each side writes all of them and checks all of them.
//!
//! Each way has a publish-subscribe service. With WAIT `blocking` it also has an event service: the sender notifies
//! after it sent, and the receiver, finding nothing, blocks in its listener. With `polling` the receiver calls
//! `receive` until there is something.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;
use std::{env, fs, thread};

use iceoryx2::port::{listener::Listener, notifier::Notifier, publisher::Publisher, subscriber::Subscriber};
use iceoryx2::prelude::*;

type Payload = [u8; 64];
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Round trips before those that are measured.
const WARM_UP: u64 = 1000;

fn payload(round: u64) -> Payload {
    std::array::from_fn(|i| (round as u8).wrapping_add(i as u8))
}

/// One direction's sending end.
struct Sender {
    publisher: Publisher<ipc::Service, Payload, ()>,
    notifier: Option<Notifier<ipc::Service>>, // None: the receiver polls
}

impl Sender {
    fn send(&self, round: u64) -> Result<()> {
        let sample = self.publisher.loan_uninit()?;
        sample.write_payload(payload(round)).send()?;
        if let Some(notifier) = &self.notifier {
            notifier.notify()?;
        }
        Ok(())
    }
}

/// One direction's receiving end.
struct Receiver {
    subscriber: Subscriber<ipc::Service, Payload, ()>,
    listener: Option<Listener<ipc::Service>>, // None: polls
}

impl Receiver {
    /// Waits for the next payload, which must be that of this round.
    fn receive(&self, round: u64) -> Result<()> {
        loop {
            if let Some(sample) = self.subscriber.receive()? {
                if *sample != payload(round) {
                    return Err(format!("round {round}: received {:?}", *sample).into());
                }
                return Ok(());
            }
            if let Some(listener) = &self.listener {
                listener.blocking_wait(|_| {})?;
            }
        }
    }
}

/// The services of one run. Their files bear the run's number (the process id of ping), so that runs don't meet, and
/// nothing but the run's own files is taken away after it.
struct Run {
    node: Node<ipc::Service>,
    blocking: bool,
}

impl Run {
    fn prefix(run: u32) -> String {
        format!("judemap_bench_{run}_")
    }

    fn folder(run: u32) -> String {
        format!("{}/{}iceoryx2", env::temp_dir().display(), Self::prefix(run))
    }

    fn new(run: u32, wait: &str) -> Result<Self> {
        let blocking = match wait {
            "blocking" => true,
            "polling" => false,
            _ => return Err(format!("WAIT is {wait:?}, not blocking or polling").into()),
        };
        let mut config = Config::default();
        config.global.set_root_path(&Path::new(Self::folder(run).as_bytes())?);
        config.global.prefix = FileName::new(Self::prefix(run).as_bytes())?;
        let node = NodeBuilder::new().config(&config).create()?;
        Ok(Run { node, blocking })
    }

    fn sender(&self, way: &str) -> Result<Sender> {
        let name = way.try_into()?;
        let data = self
            .node
            .service_builder(&name)
            .publish_subscribe::<Payload>()
            .open_or_create()?;
        let publisher = data.publisher_builder().create()?;
        let mut notifier = None;
        if self.blocking {
            let event = self.node.service_builder(&name).event().open_or_create()?;
            notifier = Some(event.notifier_builder().create()?);
        }
        Ok(Sender { publisher, notifier })
    }

    fn receiver(&self, way: &str) -> Result<Receiver> {
        let name = way.try_into()?;
        let data = self
            .node
            .service_builder(&name)
            .publish_subscribe::<Payload>()
            .open_or_create()?;
        let subscriber = data.subscriber_builder().create()?;
        let mut listener = None;
        if self.blocking {
            let event = self.node.service_builder(&name).event().open_or_create()?;
            listener = Some(event.listener_builder().create()?);
        }
        Ok(Receiver { subscriber, listener })
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
struct Pong {
    child: Child,
    over: Arc<AtomicBool>, // its end is no surprise
}

impl Pong {
    /// Starts it, and returns when it is ready. Should it end before its last round, it ends this process too, which
    /// else would wait for it without end.
    fn start(wait: &str, rounds: u64) -> Result<Self> {
        let id = std::process::id();
        let mut child = Command::new(env::current_exe()?)
            .args(["pong", wait, &rounds.to_string(), &id.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let over = Arc::new(AtomicBool::new(false));
        let pong = Pong {
            child,
            over: over.clone(),
        };
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line != "ready\n" {
            return Err("pong did not start".into());
        }
        thread::spawn(move || {
            let mut rest = String::new();
            let _ = output.read_to_string(&mut rest);
            if rest != "done\n" && !over.load(Ordering::SeqCst) {
                eprintln!("round_trip: pong ended early");
                Run::sweep(id);
                std::process::exit(1);
            }
        });
        Ok(pong)
    }
}

impl Drop for Pong {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn ping(wait: &str, rounds: u64) -> Result<()> {
    let run = Run::new(std::process::id(), wait)?;
    let (there, back) = (run.sender("there")?, run.receiver("back")?);
    let mut pong = Pong::start(wait, WARM_UP + rounds)?;
    let mut each = Vec::with_capacity((WARM_UP + rounds) as usize);
    for round in 0..WARM_UP + rounds {
        let start = Instant::now();
        there.send(round)?;
        back.receive(round)?;
        each.push(start.elapsed().as_nanos() as u64);
    }
    let _stdin = pong.child.stdin.take(); // wait would close it, and pong take that for the end of this process
    if !pong.child.wait()?.success() {
        return Err("pong failed".into());
    }
    let mut each = each.split_off(WARM_UP as usize);
    each.sort_unstable();
    let mean = each.iter().sum::<u64>() as f64 / rounds as f64;
    let (p50, p99) = (each[each.len() / 2], each[each.len() * 99 / 100]);
    println!("BenchmarkRoundTrip/wait={wait}/by=iceoryx2 {rounds} {mean:.1} ns/op {p50} p50-ns {p99} p99-ns");
    Ok(())
}

fn pong(wait: &str, rounds: u64, id: u32) -> Result<()> {
    thread::spawn(move || {
        // ping's end is the end of this process, however ping ends
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        Run::sweep(id);
        std::process::exit(1);
    });
    let run = Run::new(id, wait)?;
    let (there, back) = (run.receiver("there")?, run.sender("back")?);
    println!("ready");
    for round in 0..rounds {
        there.receive(round)?;
        back.send(round)?;
    }
    println!("done");
    Ok(())
}

fn main() -> ExitCode {
    set_log_level(LogLevel::Error);
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |s: &str| s.parse::<u64>().map_err(|e| format!("{s:?}: {e}"));
    let result = match args[..] {
        ["ping", wait, rounds] => {
            let result = number(rounds).map_err(Into::into).and_then(|n| ping(wait, n.max(1)));
            Run::sweep(std::process::id());
            result
        }
        ["pong", wait, rounds, id] => match (number(rounds), number(id)) {
            (Ok(rounds), Ok(id)) => pong(wait, rounds, id as u32),
            _ => Err("pong is started by ping".into()),
        },
        _ => Err("usage: round_trip ping blocking|polling ROUNDS".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("round_trip: {err}");
            ExitCode::FAILURE
        }
    }
}
