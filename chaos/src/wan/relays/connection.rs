//! One connection over a link: two directions, each a reader that stamps and a writer that waits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::Lateness;
use super::relay::LinkState;
use super::timer::Timer;

const CHUNK: usize = 64 * 1024;
/// Bytes a direction may hold: over 70 ms one way still more than 50 MiB/s.
const WINDOW: usize = 4 * 1024 * 1024;

/// The way from one region to one server, as its connections see it.
#[derive(Clone)]
pub(super) struct Path {
    target: SocketAddr,
    one_way: Duration,
    link: watch::Receiver<LinkState>,
    life: u64,
    lateness: Arc<Lateness>,
}

/// The connection is over, without good manners: reset, or lost with its region.
struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Broken
    }
}

enum Item {
    Data(
        Vec<u8>,
        #[allow(dead_code, reason = "room in the window, given back on drop")] OwnedSemaphorePermit,
    ),
    Fin,
    Reset,
}

impl Path {
    pub fn new(
        target: SocketAddr,
        one_way: Duration,
        link: watch::Receiver<LinkState>,
        lateness: Arc<Lateness>,
    ) -> Path {
        Path { target, one_way, link, life: 0, lateness }
    }

    /// Waits until the link carries bytes; says whether there was anything to wait for.
    async fn carries(&mut self) -> Result<bool, Broken> {
        let mut waited = false;
        loop {
            let state = *self.link.borrow_and_update();
            if state.life != self.life {
                return Err(Broken);
            }
            if !state.cut {
                return Ok(waited);
            }
            waited = true;
            self.link.changed().await.map_err(|_| Broken)?;
        }
    }
}

pub(super) async fn accept(listener: TcpListener, path: Path) {
    loop {
        match listener.accept().await {
            Ok((near, _)) => drop(tokio::spawn(carry(near, path.clone()))),
            // Out of file descriptors: the waiting connections can wait a little longer.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn carry(near: TcpStream, mut path: Path) {
    let state = *path.link.borrow_and_update();
    path.life = state.life;
    if state.cut {
        swallow(&near, &mut path).await;
        return abort(&near);
    }
    if converse(&near, path).await.is_err() {
        abort(&near);
    }
}

/// A connection asked for over a cut link: its bytes vanish until it gives up or the link heals.
async fn swallow(near: &TcpStream, path: &mut Path) {
    let mut nowhere = vec![0; CHUNK];
    loop {
        tokio::select! {
            changed = path.link.changed() => {
                let state = *path.link.borrow_and_update();
                if changed.is_err() || !state.cut || state.life != path.life {
                    return;
                }
            }
            read = read_some(near, &mut nowhere) => if matches!(read, Ok(0) | Err(_)) {
                return;
            },
        }
    }
}

async fn converse(near: &TcpStream, mut path: Path) -> Result<(), Broken> {
    let opened = Instant::now();
    Timer::new()?.until(opened + path.one_way * 3).await?;
    path.carries().await?;
    let far = TcpStream::connect(path.target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let established = opened + path.one_way * 2;
    let both = tokio::try_join!(
        direction(near, &far, path.clone(), established),
        direction(&far, near, path, Instant::now()),
    );
    both.map(drop).inspect_err(|_| abort(&far))
}

/// Carries bytes one way. Nothing counts as sent before `earliest`, when the handshake was over.
async fn direction(
    from: &TcpStream,
    to: &TcpStream,
    path: Path,
    earliest: Instant,
) -> Result<((), ()), Broken> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::try_join!(read(from, path.one_way, earliest, sender), write(to, path, receiver))
}

async fn read(
    from: &TcpStream,
    one_way: Duration,
    earliest: Instant,
    items: mpsc::UnboundedSender<(Instant, Item)>,
) -> Result<(), Broken> {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut buffer = vec![0; CHUNK];
    loop {
        let mut room = window.clone().acquire_many_owned(CHUNK as u32).await.map_err(|_| Broken)?;
        let got = read_some(from, &mut buffer).await;
        let due = Instant::now().max(earliest) + one_way;
        let item = match got {
            Ok(0) => Item::Fin,
            Err(_) => Item::Reset,
            Ok(n) => Item::Data(buffer[..n].to_vec(), room.split(n).ok_or(Broken)?),
        };
        let last = !matches!(item, Item::Data(..));
        if items.send((due, item)).is_err() || last {
            return Ok(());
        }
    }
}

async fn read_some(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

async fn write(
    to: &TcpStream,
    mut path: Path,
    mut items: mpsc::UnboundedReceiver<(Instant, Item)>,
) -> Result<(), Broken> {
    let timer = Timer::new()?;
    // Behind a slow reader or a cut: the delay is theirs, not the emulator's, until a chunk is early again.
    let mut behind = false;
    while let Some((due, item)) = items.recv().await {
        behind &= due <= Instant::now();
        timer.until(due).await?;
        behind |= path.carries().await?;
        if !behind {
            path.lateness.chunk(due.elapsed());
        }
        match item {
            Item::Data(bytes, _room) => match write_all(to, &bytes, &mut path).await {
                Ok(blocked) => behind |= blocked,
                Err(broken) => {
                    // The receiver has gone: its reset takes a while to come back.
                    timer.until(Instant::now() + path.one_way).await?;
                    path.carries().await?;
                    return Err(broken);
                }
            },
            Item::Fin => return Ok(SockRef::from(to).shutdown(std::net::Shutdown::Write)?),
            Item::Reset => return Err(Broken),
        }
    }
    Ok(())
}

/// Writes it all, but nothing while the link is cut. Says whether it had to wait for the reader or the link.
async fn write_all(to: &TcpStream, mut bytes: &[u8], path: &mut Path) -> Result<bool, Broken> {
    let mut blocked = false;
    while !bytes.is_empty() {
        blocked |= path.carries().await?;
        match to.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                blocked = true;
                tokio::select! {
                    writable = to.writable() => writable?,
                    _ = path.link.changed() => {}
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(blocked)
}

/// Closing with nothing to linger for sends a reset.
fn abort(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
