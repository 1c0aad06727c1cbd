//! What EC2 tells a spot instance of its end, in the metadata service that each instance has for itself alone.
//!
//! "Spot Instance interruption notices" in EC2's user guide: two minutes ahead, or not at all; whoever
//! wants to know asks every five seconds. Nothing outside of the instance is told without an
//! EventBridge rule and a queue in the account. The service is asked over whatever leads to it: how a stream to
//! the instance comes about is the caller's concern.

use std::{future::Future, io};

use bytes::Bytes;
use futures::future::join;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};

/// The metadata service as each instance sees it, by IPv4 (EC2 User Guide, "Access instance metadata").
pub const ADDRESS: (&str, u16) = ("169.254.169.254", 80);

/// How long ahead EC2 tells an instance that it is taken back, at most.
pub const AHEAD: SignedDuration = SignedDuration::from_mins(2);

/// For how long a token is asked for, in seconds: the most there is.
const TOKEN_LIFE: &str = "21600";

/// What an answer may be long, in bytes. Notices have less than 100.
const LIMIT: usize = 16 * 1024;

/// What an instance was told of its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// When EC2 takes it back.
    pub interruption: Option<Timestamp>,
    /// Since when EC2 holds it for likelier than before that it will.
    pub rebalance: Option<Timestamp>,
}

/// Why a metadata service did not tell.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// No stream leads there.
    #[error("it is not reached: {0}")]
    NotReached(#[from] io::Error),
    /// The stream broke off.
    #[error("it does not answer: {0}")]
    Broken(#[from] hyper::Error),
    /// A request cannot be written, or an answer is too long.
    #[error("it cannot be asked: {0}")]
    Unusable(String),
    /// It refuses.
    #[error("it answers {0}")]
    Refused(StatusCode),
    /// What it says is no notice.
    #[error("it says what is no notice: {0}")]
    Strange(#[from] serde_json::Error),
}

/// The metadata service of an instance.
pub struct Metadata<O> {
    open: O,
    token: Option<String>,
}

/// `spot/instance-action`: whatever the action is, the machine is gone then.
#[derive(Deserialize)]
struct InstanceAction {
    time: Timestamp,
}

/// `events/recommendations/rebalance`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recommendation {
    notice_time: Timestamp,
}

impl<O, F, S> Metadata<O>
where
    O: Fn() -> F,
    F: Future<Output = io::Result<S>>,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// One that each stream which `open` gives leads to: it closes them after each answer.
    pub const fn new(open: O) -> Self {
        Self { open, token: None }
    }

    /// When EC2 takes the instance back, where it has said so.
    ///
    /// # Errors
    /// When it does not tell.
    pub async fn interruption(&mut self) -> Result<Option<Timestamp>, NoticeError> {
        Ok(self.read::<InstanceAction>("spot/instance-action").await?.map(|told| told.time))
    }

    /// When EC2 recommended to replace the instance, where it did.
    ///
    /// # Errors
    /// When it does not tell.
    pub async fn rebalance(&mut self) -> Result<Option<Timestamp>, NoticeError> {
        Ok(self.read::<Recommendation>("events/recommendations/rebalance").await?.map(|told| told.notice_time))
    }

    /// What stands at a path, if something does.
    async fn read<T: DeserializeOwned>(&mut self, path: &str) -> Result<Option<T>, NoticeError> {
        let token = match self.token.clone() {
            Some(token) => token,
            None => self.token().await?,
        };
        let path = format!("/latest/meta-data/{path}");
        match self.ask(Method::GET, &path, ("x-aws-ec2-metadata-token", &token)).await? {
            (StatusCode::OK, told) => Ok(Some(serde_json::from_slice(&told)?)),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, _) => {
                // A token is good for hours, and for one start of the instance.
                self.token = None;
                Err(NoticeError::Refused(status))
            }
        }
    }

    async fn token(&mut self) -> Result<String, NoticeError> {
        let life = ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_LIFE);
        match self.ask(Method::PUT, "/latest/api/token", life).await? {
            (StatusCode::OK, token) => {
                let token = String::from_utf8_lossy(&token).trim().to_owned();
                self.token = Some(token.clone());
                Ok(token)
            }
            (status, _) => Err(NoticeError::Refused(status)),
        }
    }

    /// One question with one header, on a stream of its own.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        (header, value): (&str, &str),
    ) -> Result<(StatusCode, Bytes), NoticeError> {
        let request = Request::builder().method(method).uri(path).header(HOST, ADDRESS.0).header(header, value);
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| NoticeError::Unusable(e.to_string()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new((self.open)().await?)).await?;
        let exchange = async move {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let told = Limited::new(answer.into_body(), LIMIT).collect().await;
            Ok((status, told.map_err(|e| NoticeError::Unusable(e.to_string()))?.to_bytes()))
        };
        // Until the stream is closed on both sides.
        join(exchange, connection).await.0
    }
}

impl<O> std::fmt::Debug for Metadata<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metadata").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const AT: &str = "2026-11-28T12:00:00Z";

    /// A metadata service that takes one token after the other, and tells what is at hand: by path, the body.
    #[derive(Default)]
    struct Service {
        tokens: u32,
        good: u32,
        told: Vec<(&'static str, String)>,
        asked: Vec<String>,
    }

    impl Service {
        fn answer(&mut self, request: &str) -> (u16, String) {
            let line = request.lines().next().unwrap_or_default().to_owned();
            self.asked.push(line.clone());
            let has = |header: &str| request.to_lowercase().contains(header);
            if line.starts_with("PUT /latest/api/token ") && has("x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n") {
                self.tokens += 1;
                return (200, format!("token-{}", self.tokens));
            }
            if !has(&format!("x-aws-ec2-metadata-token: token-{}\r\n", self.good)) {
                return (401, String::new());
            }
            let path = line.strip_prefix("GET /latest/meta-data/").and_then(|l| l.strip_suffix(" HTTP/1.1"));
            let told = self.told.iter().find(|(at, _)| Some(*at) == path);
            told.map_or((404, "<?xml version=\"1.0\"?>".to_owned()), |(_, body)| (200, body.clone()))
        }
    }

    /// A stream to it, which it closes after its answer, as EC2's does.
    fn open(service: &Arc<Mutex<Service>>) -> DuplexStream {
        let (ours, mut theirs) = duplex(1024);
        let service = Arc::clone(service);
        tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(theirs.read_u8().await.unwrap());
            }
            let (status, body) = service.lock().unwrap().answer(&String::from_utf8(request).unwrap());
            let head = format!("HTTP/1.1 {status} Told\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            theirs.write_all((head + &body).as_bytes()).await.unwrap();
        });
        ours
    }

    fn service(told: &[(&'static str, String)]) -> Arc<Mutex<Service>> {
        Arc::new(Mutex::new(Service { good: 1, told: told.to_vec(), ..Service::default() }))
    }

    #[tokio::test]
    async fn what_is_told_is_read_and_what_is_not_there_is_nothing() {
        let action = ("spot/instance-action", format!("{{\"action\": \"terminate\", \"time\": \"{AT}\"}}"));
        let advice = ("events/recommendations/rebalance", format!("{{\"noticeTime\": \"{AT}\"}}"));
        let at: Option<Timestamp> = Some(AT.parse().unwrap());
        let table = [(vec![], None, None), (vec![advice.clone()], None, at), (vec![action, advice], at, at)];
        for (told, interruption, rebalance) in table {
            let service = service(&told);
            let mut metadata = Metadata::new(async || Ok(open(&service)));
            assert_eq!(metadata.interruption().await.unwrap(), interruption, "{told:?}");
            assert_eq!(metadata.rebalance().await.unwrap(), rebalance, "{told:?}");
            assert_eq!(service.lock().unwrap().tokens, 1, "one token does for all questions");
        }
    }

    #[tokio::test]
    async fn a_token_that_is_not_taken_any_more_is_replaced() {
        let service = service(&[]);
        let mut metadata = Metadata::new(async || Ok(open(&service)));
        assert_eq!(metadata.interruption().await.unwrap(), None);
        service.lock().unwrap().good = 2;
        let refused = metadata.interruption().await.unwrap_err();
        assert_eq!(refused.to_string(), "it answers 401 Unauthorized");
        assert_eq!(metadata.interruption().await.unwrap(), None);
        assert_eq!(service.lock().unwrap().tokens, 2);
    }

    #[tokio::test]
    async fn what_cannot_be_understood_is_no_answer() {
        for words in ["", "{}", "{\"action\": \"terminate\", \"time\": \"soon\"}", "<html>"] {
            let service = service(&[("spot/instance-action", words.to_owned())]);
            let mut metadata = Metadata::new(async || Ok(open(&service)));
            let error = metadata.interruption().await.unwrap_err();
            assert!(matches!(error, NoticeError::Strange(_)), "{words}: {error}");
        }
        let endless = "x".repeat(LIMIT + 1);
        let service = service(&[("spot/instance-action", endless)]);
        let error = Metadata::new(async || Ok(open(&service))).interruption().await.unwrap_err();
        assert!(matches!(error, NoticeError::Unusable(_)), "{error}");
        let nobody = async || Err::<DuplexStream, _>(io::Error::other("nothing listens there"));
        let error = Metadata::new(nobody).interruption().await.unwrap_err();
        assert_eq!(error.to_string(), "it is not reached: nothing listens there");
    }
}
