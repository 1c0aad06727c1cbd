//! Local ports that lead through a real sshd.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use testkit::forward::{Destination, Event, Forward, Way};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{Cluster, sshd};

const SOON: Duration = Duration::from_secs(60);

/// A server of this machine, which is the host as well; gives its port.
async fn serve<F>(each: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(each(stream));
        }
    });
    port
}

async fn echo() -> u16 {
    serve(async |mut stream: TcpStream| {
        let (mut reader, mut writer) = stream.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    })
    .await
}

type Said = Arc<Mutex<Vec<Event>>>;

async fn forward(ways: Vec<(Arc<Way>, Vec<u16>)>) -> (Forward, Said) {
    let said = Said::default();
    let says = said.clone();
    let at = |ports: Vec<u16>| ports.into_iter().map(|port| ("127.0.0.1".to_owned(), port)).collect();
    let to = Destination::new(ways.into_iter().map(|(way, ports)| (way, at(ports))).collect());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let forward = Forward::begin(any, to, move |event| says.lock().unwrap().push(event)).await.unwrap();
    (forward, said)
}

/// Sends it, ends sending, and gives back all that comes.
async fn ask(forward: &Forward, sent: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(forward.local()).await?;
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let send = async {
        writer.write_all(sent).await?;
        writer.shutdown().await
    };
    let both = futures::future::join(send, reader.read_to_end(&mut answer));
    let (wrote, read) = timeout(SOON, both).await.unwrap();
    wrote.and(read).map(|_| answer)
}

#[tokio::test]
async fn ports_carry_streams_both_ways_to_their_ends() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let way = Arc::new(Way::new("m0", cluster.at(sshd.port, true)));
    let dead = Arc::new(Way::new("m1", cluster.at(sshd::free_port(), true)));
    // What does not answer is passed over: a port, and a host.
    let places = vec![(dead, vec![1]), (way, vec![sshd::free_port(), echo().await])];
    let (forward, said) = forward(places).await;
    let much: Vec<u8> = (0..5_u32 << 20).map(|n| (n % 251) as u8).collect();
    assert!(ask(&forward, &much).await.unwrap() == much, "5 MiB come back as they were");
    for _ in 0..3 {
        assert_eq!(ask(&forward, b"hello").await.unwrap(), b"hello");
    }
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "a connection is used again");
    assert_eq!(*said.lock().unwrap(), vec![Event::Connected; 4]);

    let local = forward.local();
    let mut open = TcpStream::connect(local).await.unwrap();
    open.write_all(b"x").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'x');
    drop(forward);
    let end = timeout(SOON, open.read_u8()).await.expect("its connections end");
    assert!(end.is_err());
    while TcpStream::connect(local).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_host_that_says_nothing_holds_up_the_first_only() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let way = Arc::new(Way::new("m0", cluster.at(sshd.port, true)));
    // Its kernel takes connections, and nobody answers.
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = Arc::new(Way::new("m1", cluster.at(frozen.local_addr().unwrap().port(), true)));
    let (forward, said) = forward(vec![(dead, vec![1]), (way, vec![echo().await])]).await;
    let begin = Instant::now();
    assert_eq!(ask(&forward, b"hello").await.unwrap(), b"hello");
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
    // Behind the silent one each would take a second; on a busy machine one may.
    let mut took: Vec<Duration> = Vec::new();
    while took.len() < 6 && took.iter().all(|took| *took >= Duration::from_millis(900)) {
        let begin = Instant::now();
        assert_eq!(ask(&forward, b"hello").await.unwrap(), b"hello");
        took.push(begin.elapsed());
    }
    assert!(took.iter().any(|took| *took < Duration::from_millis(900)), "the good one is tried first: {took:?}");
    assert_eq!(*said.lock().unwrap(), vec![Event::Connected; 1 + took.len()]);
}

#[tokio::test]
async fn a_reader_that_stalls_holds_up_nobody_else() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let way = Arc::new(Way::new("m0", cluster.at(sshd.port, true)));
    let flood = serve(async |mut stream: TcpStream| while stream.write_all(&[0; 65536]).await.is_ok() {}).await;
    let (flood, _) = forward(vec![(way.clone(), vec![flood])]).await;
    let (echo, _) = forward(vec![(way, vec![echo().await])]).await;
    let mut stalled = TcpStream::connect(flood.local()).await.unwrap();
    stalled.read_exact(&mut [0; 4096]).await.unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&echo, b"hello").await.unwrap(), b"hello");
    }
    // It goes on where it stopped.
    timeout(SOON, stalled.read_exact(&mut vec![0; 32 << 20])).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_leads_nowhere_ends_with_an_error_and_says_why() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let way = Arc::new(Way::new("m0", cluster.at(sshd.port, true)));
    let (forward, said) = forward(vec![(way, vec![sshd::free_port()])]).await;
    assert!(ask(&forward, b"hello").await.is_err(), "an empty answer would be a lie");
    let said = said.lock().unwrap().clone();
    assert!(
        matches!(&said[..], [Event::Connected, Event::Broken(why)] if why.contains("nothing listens there")),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_connection_that_is_lost_is_an_error_and_no_end() {
    let cluster = Cluster::new();
    let Some(sshd) = cluster.sshd() else { return };
    let way = Arc::new(Way::new("m0", cluster.at(sshd.port, true)));
    let (forward, _) = forward(vec![(way, vec![echo().await])]).await;
    let mut open = TcpStream::connect(forward.local()).await.unwrap();
    open.write_all(b"x").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'x');
    sshd.end_sessions();
    let end = timeout(SOON, open.read_to_end(&mut Vec::new())).await.expect("it is noticed");
    assert!(end.is_err(), "it looks like the end of what was said");
    assert_eq!(ask(&forward, b"again").await.unwrap(), b"again", "the next one makes a connection of its own");
}
