//! The cable between the agent and the server: a TCP relay that can be cut in every way that a line can fail, with a
//! rate, a delay, and counters.

use std::io;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use smol::Async;
use smol::LocalExecutor;
use smol::Timer;
use smol::channel::Receiver;
use smol::channel::Sender;
use smol::future::or;
use smol::future::try_zip;
use smol::io::AsyncReadExt as _;
use smol::io::AsyncWriteExt as _;

/// What the line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Connections are closed and new ones refused: the server's process is gone.
    Refuse,
    /// Connections are reset, new ones as soon as they are open.
    Reset,
    /// Sockets stay open, nothing passes either way; new connections open and stay silent.
    Drop,
    /// As `Drop`, but new connections are not even opened: their SYN is lost, as behind `iptables -j DROP`.
    Blackhole,
    /// Connections are closed; new ones open, the server never says a word: TLS stalls.
    Stall,
}

/// How the line carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// Bits a second each way; 0 is no limit.
    pub rate: u64,
    /// One way.
    pub delay: Duration,
}

/// What was carried, without the headers of TCP and IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes from the agent to the server.
    pub up: u64,
    /// Bytes from the server to the agent.
    pub down: u64,
    /// Connections that the agent opened.
    pub opened: u64,
}

impl Counters {
    /// Both ways.
    pub fn bytes(&self) -> u64 {
        self.up + self.down
    }

    /// What was carried since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            up: self.up - earlier.up,
            down: self.down - earlier.down,
            opened: self.opened - earlier.opened,
        }
    }
}

struct State {
    mode: Mode,
    /// Replaced at each change of mode; a receiver that closes has seen one.
    changed: (Sender<()>, Receiver<()>),
    quality: Quality,
    counters: Counters,
    /// When each direction of the line is free again.
    free: [Instant; 2],
    stopped: bool,
    /// The mode that the listener has taken up.
    taken: Mode,
}

struct Shared {
    state: Mutex<State>,
    server: SocketAddr,
    address: SocketAddr,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics with the lock held")
    }

    fn mode(&self) -> (Mode, Receiver<()>) {
        let state = self.state();
        (state.mode, state.changed.1.clone())
    }
}

/// The relay; dropping it closes everything.
pub struct Cable {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Cable {
    /// A cable to `server`, passing, on a free port that stays the same through all modes.
    pub fn lay(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                mode: Mode::Pass,
                changed: smol::channel::bounded(1),
                quality: Quality::default(),
                counters: Counters::default(),
                free: [Instant::now(); 2],
                stopped: false,
                taken: Mode::Pass,
            }),
            server,
            address,
        });
        let inner = shared.clone();
        let thread = std::thread::spawn(move || run(&inner, listener));
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// The agent's end.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The mode it is in.
    pub fn mode(&self) -> Mode {
        self.shared.state().mode
    }

    /// Changes the mode, for open connections too; returns when new connections meet it.
    pub fn set(&self, mode: Mode) {
        {
            let mut state = self.shared.state();
            state.mode = mode;
            state.changed = smol::channel::bounded(1);
        }
        while self.shared.state().taken != mode {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Changes rate and delay.
    pub fn set_quality(&self, quality: Quality) {
        self.shared.state().quality = quality;
    }

    /// What was carried until now.
    pub fn counters(&self) -> Counters {
        self.shared.state().counters
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            state.stopped = true;
            state.changed = smol::channel::bounded(1);
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the relay's thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Arc<Shared>, listener: TcpListener) {
    let executor = Rc::new(LocalExecutor::new());
    // A relay that cannot listen again fails the test that needs it to.
    let _ = smol::block_on(executor.run(accept(shared, &executor, listener)));
}

async fn accept(
    shared: &Arc<Shared>,
    executor: &LocalExecutor<'static>,
    listener: TcpListener,
) -> io::Result<()> {
    let mut listener = Some(Async::new(listener)?);
    // Connections that fill the queue of a listener that must not answer.
    let mut fillers = Vec::new();
    loop {
        let (mode, changed) = shared.mode();
        if shared.state().stopped {
            return Ok(());
        }
        match mode {
            Mode::Refuse => listener = None,
            _ if listener.is_none() => listener = Some(Async::<TcpListener>::bind(shared.address)?),
            _ => {}
        }
        match (&listener, mode) {
            (Some(listener), Mode::Blackhole) => fillers = fill(listener, shared.address)?,
            (Some(listener), _) if !fillers.is_empty() => {
                fillers.clear();
                rustix::net::listen(listener, 128)?;
            }
            _ => {}
        }
        shared.state().taken = mode;
        let Some(open) = listener.as_ref().filter(|_| mode != Mode::Blackhole) else {
            // Closed by the change.
            let _ = changed.recv().await;
            continue;
        };
        let news = async {
            // Closed by the change.
            let _ = changed.recv().await;
            None
        };
        let accepted = or(news, async { Some(open.accept().await) }).await;
        let Some(accepted) = accepted else { continue };
        let (stream, _) = accepted?;
        shared.state().counters.opened += 1;
        let shared = shared.clone();
        let task = async move {
            // A broken connection is what a cable is for.
            let _ = relay(&shared, stream).await;
        };
        executor.spawn(task).detach();
    }
}

/// Fills the listener's queue so that the kernel drops further SYNs, as it does when nobody accepts.
fn fill(listener: &Async<TcpListener>, address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    rustix::net::listen(listener, 0)?;
    let mut fillers = Vec::new();
    while fillers.len() < 64 {
        match TcpStream::connect_timeout(&address, Duration::from_millis(150)) {
            Ok(stream) => fillers.push(stream),
            Err(_) => break,
        }
    }
    Ok(fillers)
}

/// Whether a connection may carry one way.
enum Gate {
    Open,
    Shut,
    Broken,
}

/// What the mode means for a connection that was opened under `born`; the server speaks on way 1.
fn gate(mode: Mode, born: Mode, way: usize) -> Gate {
    match mode {
        Mode::Pass => Gate::Open,
        Mode::Drop | Mode::Blackhole => Gate::Shut,
        Mode::Refuse | Mode::Reset => Gate::Broken,
        Mode::Stall if born != Mode::Stall => Gate::Broken,
        Mode::Stall if way == 1 => Gate::Shut,
        Mode::Stall => Gate::Open,
    }
}

/// Waits until the gate is open and hands out the receiver that closes when that may have changed.
async fn until_open(shared: &Shared, born: Mode, way: usize) -> io::Result<Receiver<()>> {
    loop {
        let (mode, changed) = shared.mode();
        match gate(mode, born, way) {
            Gate::Open => return Ok(changed),
            Gate::Broken => return Err(io::ErrorKind::ConnectionReset.into()),
            // Closed by the change.
            Gate::Shut => drop(changed.recv().await),
        }
    }
}

async fn relay(shared: &Shared, agent: Async<TcpStream>) -> io::Result<()> {
    agent.get_ref().set_nodelay(true)?;
    let born = shared.state().mode;
    let outcome = carry(shared, &agent, born).await;
    if outcome.is_err() && shared.state().mode == Mode::Reset {
        reset(&agent)?;
    }
    outcome
}

async fn carry(shared: &Shared, agent: &Async<TcpStream>, born: Mode) -> io::Result<()> {
    until_open(shared, born, 0).await?;
    let server = Async::<TcpStream>::connect(shared.server).await?;
    server.get_ref().set_nodelay(true)?;
    let up = pump(shared, agent, &server, born, 0);
    let down = pump(shared, &server, agent, born, 1);
    let outcome = try_zip(up, down).await;
    if outcome.is_err() && shared.state().mode == Mode::Reset {
        reset(&server)?;
    }
    outcome.map(drop)
}

/// Makes the close of a socket a RST.
fn reset(stream: &Async<TcpStream>) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

type Piece = (Instant, Vec<u8>);

/// Carries one way until its source ends.
async fn pump(
    shared: &Shared,
    from: &Async<TcpStream>,
    to: &Async<TcpStream>,
    born: Mode,
    way: usize,
) -> io::Result<()> {
    let (queue, pieces) = smol::channel::bounded(1024);
    let reading = read_side(shared, from, queue, born, way);
    let writing = write_side(shared, to, pieces, born, way);
    try_zip(reading, writing).await.map(drop)
}

async fn read_side(
    shared: &Shared,
    mut from: &Async<TcpStream>,
    queue: Sender<Piece>,
    born: Mode,
    way: usize,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let changed = until_open(shared, born, way).await?;
        let limited = shared.state().quality.rate > 0;
        // A slow line carries packets, or a whole buffer would arrive in one late burst.
        let room = if limited { 1400 } else { buffer.len() };
        let news = async {
            // Closed by the change.
            let _ = changed.recv().await;
            None
        };
        let read = or(news, async { Some(from.read(&mut buffer[..room]).await) }).await;
        let Some(read) = read else { continue };
        let length = read?;
        if length == 0 {
            return Ok(());
        }
        let (sent, due) = {
            let mut state = shared.state();
            let counters = &mut state.counters;
            *(if way == 0 {
                &mut counters.up
            } else {
                &mut counters.down
            }) += length as u64;
            let Quality { rate, delay } = state.quality;
            let on_the_line = match rate {
                0 => Duration::ZERO,
                rate => Duration::from_secs_f64(length as f64 * 8.0 / rate as f64),
            };
            let sent = state.free[way].max(Instant::now()) + on_the_line;
            state.free[way] = sent;
            (sent, sent + delay)
        };
        if queue.send((due, buffer[..length].to_vec())).await.is_err() {
            return Ok(());
        }
        if limited {
            Timer::at(sent).await;
        }
    }
}

async fn write_side(
    shared: &Shared,
    mut to: &Async<TcpStream>,
    pieces: Receiver<Piece>,
    born: Mode,
    way: usize,
) -> io::Result<()> {
    while let Ok((due, bytes)) = pieces.recv().await {
        if due > Instant::now() {
            Timer::at(due).await;
        }
        let mut written = 0;
        while written < bytes.len() {
            let changed = until_open(shared, born, way).await?;
            let news = async {
                // Closed by the change.
                let _ = changed.recv().await;
                Ok(0)
            };
            written += or(news, to.write(&bytes[written..])).await?;
        }
    }
    until_open(shared, born, way).await?;
    to.get_ref().shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::io::Read;
    use std::io::Write;
    use std::net::TcpListener;
    use std::net::TcpStream;
    use std::time::Duration;

    use super::Cable;
    use super::Mode;

    /// A server that sends back what it gets, for any number of connections, until the process ends.
    fn echo() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(length @ 1..) = stream.read(&mut buffer) {
                        if stream.write_all(&buffer[..length]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    fn connect(cable: &Cable) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&cable.address(), Duration::from_millis(300))?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(stream)
    }

    /// Sends a word and reads it back.
    fn say(stream: &mut TcpStream, word: &str) -> std::io::Result<String> {
        stream.write_all(word.as_bytes())?;
        let mut buffer = vec![0; word.len()];
        stream.read_exact(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }

    fn kind<T>(outcome: std::io::Result<T>) -> Option<ErrorKind> {
        outcome.err().map(|error| error.kind())
    }

    #[test]
    fn a_passing_cable_carries_and_counts() {
        let cable = Cable::lay(echo());
        let mut stream = connect(&cable).expect("passes");
        assert_eq!(say(&mut stream, "hello").expect("passes"), "hello");
        let counters = cable.counters();
        assert_eq!((counters.up, counters.down, counters.opened), (5, 5, 1));
    }

    #[test]
    fn a_dropping_cable_is_silent_and_loses_nothing() {
        for mode in [Mode::Drop, Mode::Blackhole] {
            let cable = Cable::lay(echo());
            let mut stream = connect(&cable).expect("passes");
            say(&mut stream, "a").expect("passes");
            cable.set(mode);
            assert_eq!(kind(say(&mut stream, "b")), Some(ErrorKind::WouldBlock));
            match mode {
                Mode::Drop => {
                    let mut fresh = connect(&cable).expect("opens");
                    assert_eq!(kind(say(&mut fresh, "c")), Some(ErrorKind::WouldBlock));
                }
                _ => assert_eq!(kind(connect(&cable)), Some(ErrorKind::TimedOut)),
            }
            cable.set(Mode::Pass);
            let mut late = [0; 1];
            stream
                .set_read_timeout(Some(Duration::from_secs(5)))
                .expect("set");
            stream.read_exact(&mut late).expect("what was held comes");
            assert_eq!(&late, b"b");
            let mut fresh = connect(&cable).expect("passes again");
            assert_eq!(say(&mut fresh, "d").expect("passes again"), "d");
        }
    }

    #[test]
    fn a_refusing_cable_closes_and_refuses_and_comes_back_on_the_same_port() {
        let cable = Cable::lay(echo());
        let mut stream = connect(&cable).expect("passes");
        say(&mut stream, "a").expect("passes");
        cable.set(Mode::Refuse);
        assert!(matches!(
            kind(say(&mut stream, "b")),
            Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
        ));
        assert_eq!(kind(connect(&cable)), Some(ErrorKind::ConnectionRefused));
        cable.set(Mode::Pass);
        say(&mut connect(&cable).expect("again"), "c").expect("passes again");
    }

    #[test]
    fn a_resetting_cable_resets_old_and_new_connections() {
        let cable = Cable::lay(echo());
        let mut stream = connect(&cable).expect("passes");
        say(&mut stream, "a").expect("passes");
        cable.set(Mode::Reset);
        let mut byte = [0; 1];
        assert_eq!(
            kind(stream.read(&mut byte)),
            Some(ErrorKind::ConnectionReset)
        );
        // The reset may come before the client has seen its connection open.
        let fresh = connect(&cable).and_then(|mut fresh| fresh.read(&mut byte));
        assert_eq!(kind(fresh), Some(ErrorKind::ConnectionReset));
    }

    #[test]
    fn a_stalling_cable_opens_and_never_answers() {
        let cable = Cable::lay(echo());
        let mut stream = connect(&cable).expect("passes");
        say(&mut stream, "a").expect("passes");
        cable.set(Mode::Stall);
        assert!(say(&mut stream, "b").is_err());
        let mut fresh = connect(&cable).expect("opens");
        assert_eq!(kind(say(&mut fresh, "c")), Some(ErrorKind::WouldBlock));
        assert_eq!(cable.counters().up, 2);
    }
}
