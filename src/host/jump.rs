//! A host in between: a login there, and a channel to the next one.
//!
//! It is offered the key that was given for it, where one was; else what `ssh` would offer: the keys of the user's agent,
//! then those in files. The key of what lies behind it is used inside the channel alone.

mod offer;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use russh::{
    client::{AuthResult, Handle},
    keys::{
        Algorithm, Error as KeyFileError, HashAlg, PrivateKeyWithHashAlg, PublicKey,
        agent::{AgentIdentity, client::AgentClient},
    },
};

use super::{
    ClientKey, ConnectError, HostPin, JumpError,
    login::{
        Ending, Expected, Grip, LOGIN, LOGIN_LIMIT, LOGIN_TRIPS, Met, Patience, Unmet, Watcher, hung_up, place,
        shake_hands, within,
    },
    turn::{LOGGING_IN, Turn},
    way::{Hop, Way, ahead},
};
use crate::platform::local;

/// What a jump host may take to connect to the next host: it sends SYNs that are lost again after 1, 3, 7 s.
const PASSAGE_LIMIT: Duration = Duration::from_secs(10);
const PASSAGE: &str = "the connection from the jump host";
/// So many round trips of a login are taken for one step.
const KEYS_TRIED: u32 = 6;

/// A host to go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// As it was named, for messages.
    pub name: String,
    /// An IP address or a name.
    pub address: String,
    /// The port of its sshd.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// The host keys that prove it. There must be some: none is taken on trust.
    pub known: Vec<HostPin>,
    /// By which name the user's `known_hosts` have these; none where they were given with it.
    pub known_as: Option<String>,
    /// The key that opens it, before any that are the user's.
    pub key: Option<ClientKey>,
    /// The socket of the user's agent.
    pub agent: Option<PathBuf>,
    /// The user's private keys. Those that are not there are passed over.
    pub keys: Vec<PathBuf>,
    /// Of the agent's keys only those that are also in files are offered.
    pub only_keys: bool,
}

/// A session with a jump host, and the way to it.
pub struct Entered {
    handle: Handle<Watcher>,
    grip: Grip,
    hops: Vec<Hop>,
    trip: Duration,
}

impl Jump {
    /// One that is opened by a key at hand, and not by a person's.
    #[must_use]
    pub fn given(address: &str, port: u16, user: &str, pin: HostPin, key: ClientKey) -> Self {
        Self {
            name: format!("{user}@{}", place(address, port)),
            address: address.to_owned(),
            port,
            user: user.to_owned(),
            known: vec![pin],
            known_as: None,
            key: Some(key),
            agent: None,
            keys: Vec::new(),
            only_keys: true,
        }
    }

    /// There is no connection to it.
    pub(super) fn unreached(&self, error: ConnectError) -> ConnectError {
        self.ends(JumpError::Connect(Box::new(error)))
    }

    fn ends(&self, why: JumpError) -> ConnectError {
        ConnectError::Jump { jump: self.name.clone(), why }
    }

    /// Waits until it has time for one more who logs in.
    pub(super) async fn turn(&self) -> Turn {
        Turn::at(&self.address, self.port).await
    }

    /// Logs in over the way so far. The turn is over then.
    pub(super) async fn enter(
        &self,
        way: Way,
        mut turn: Turn,
        patience: Patience,
        ending: &Ending,
    ) -> Result<Entered, ConnectError> {
        let here = place(&self.address, self.port);
        let expected = Expected {
            place: here.clone(),
            keys: self.known.clone(),
            ending: Ending { why: ending.why.clone(), ..Ending::default() },
            jump: Some(self.name.clone()),
        };
        let Way { stream, grip, hops, trip } = way;
        let logging_in = async {
            let met = shake_hands(stream, expected, trip, patience).await;
            let Met { mut handle, ending, .. } = met.map_err(|error| match error {
                Unmet::Key(presented) => self.ends(JumpError::Key { place: here.clone(), presented }),
                Unmet::Dropped(message) => self.ends(JumpError::Dropped { place: here.clone(), message }),
                Unmet::Other(error) => self.unreached(error),
            })?;
            let limit = LOGIN_LIMIT + trip * LOGIN_TRIPS * KEYS_TRIED;
            let login = self.log_in(&mut handle, &here, &ending);
            within(limit, LOGIN, &here, login).await.map_err(|e| self.unreached(e))?.map_err(|e| self.ends(e))?;
            Ok::<_, ConnectError>(handle)
        };
        let handle = turn.during(LOGGING_IN, logging_in).await?;
        Ok(Entered { handle, grip, hops, trip })
    }

    /// Leads the way on to the next host.
    pub(super) async fn pass(&self, entered: Entered, (address, port): (&str, u16)) -> Result<Way, ConnectError> {
        let Entered { handle, grip, mut hops, trip } = entered;
        let begin = Instant::now();
        let to = place(address, port);
        // Where we are says nothing to anybody: sshd only writes it into its log.
        let open = handle.channel_open_direct_tcpip(address, u32::from(port), "127.0.0.1", 0);
        let limit = PASSAGE_LIMIT + trip * LOGIN_TRIPS;
        // A firewall that drops says nothing: the jump host itself is there.
        let silent = |_| {
            let message = format!("nothing answers there within {} s", limit.as_secs());
            self.ends(JumpError::Passage { to: to.clone(), message })
        };
        let opened = within(limit, PASSAGE, &to, open).await.map_err(silent)?;
        let channel = opened.map_err(|error| {
            let message = match error {
                russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::ConnectFailed) => {
                    "nothing answers there".to_owned()
                }
                russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::AdministrativelyProhibited) => {
                    "its sshd does not allow it (AllowTcpForwarding, PermitOpen)".to_owned()
                }
                other => other.to_string(),
            };
            self.ends(JumpError::Passage { to, message })
        })?;
        hops.push(Hop(handle));
        Ok(Way { stream: ahead(channel.into_stream()), grip, hops, trip: begin.elapsed() })
    }

    /// Offers one key after the other.
    async fn log_in(&self, handle: &mut Handle<Watcher>, here: &str, ending: &Ending) -> Result<(), JumpError> {
        let mut tried = Vec::new();
        let mut offered: Vec<PublicKey> = Vec::new();
        let refused = |tried: &[String]| JumpError::Login {
            place: here.to_owned(),
            user: self.user.clone(),
            tried: if tried.is_empty() { "no key was found".to_owned() } else { tried.join(", ") },
        };
        let hung_up = |handle: &Handle<Watcher>| {
            handle.is_closed().then(|| JumpError::Connect(Box::new(hung_up(here, ending.reason()))))
        };
        if let Some(key) = &self.key {
            tried.push("the key that was given for it".to_owned());
            let answer = handle
                .authenticate_publickey(&self.user, PrivateKeyWithHashAlg::new(key.private(), None))
                .await
                .map_err(|e| JumpError::Connect(Box::new(self::hung_up(here, e.to_string()))))?;
            if self.is_in(&answer, &mut tried) {
                return Ok(());
            }
        }
        if let Some((mut agent, keys)) = self.of_agent(&mut tried).await {
            for key in keys {
                let hash = hash(handle, &key).await;
                tried.push(format!("{} of the agent", shown(&key)));
                let answer = handle.authenticate_publickey_with(&self.user, key.clone(), hash, &mut agent).await;
                offered.push(key);
                match answer {
                    Ok(answer) if self.is_in(&answer, &mut tried) => return Ok(()),
                    Ok(_) => {}
                    // One that an agent does not sign with is no reason to ask for no other.
                    Err(error) => tried.push(format!("(the agent: {error})")),
                }
                if let Some(error) = hung_up(handle) {
                    return Err(if tried.len() > 1 { refused(&tried) } else { error });
                }
            }
        }
        for path in &self.keys {
            let key = match offer::of_file(path, &offered) {
                Ok(key) => key,
                Err(why) => {
                    tried.extend(why);
                    continue;
                }
            };
            tried.push(path.display().to_string());
            let hash = hash(handle, key.public_key()).await;
            let answer = handle
                .authenticate_publickey(&self.user, PrivateKeyWithHashAlg::new(Arc::new(key), hash))
                .await
                .map_err(|e| JumpError::Connect(Box::new(self::hung_up(here, e.to_string()))))?;
            if self.is_in(&answer, &mut tried) {
                return Ok(());
            }
            if let Some(error) = hung_up(handle) {
                return Err(if tried.len() > 1 { refused(&tried) } else { error });
            }
        }
        Err(refused(&tried))
    }

    fn is_in(&self, answer: &AuthResult, tried: &mut Vec<String>) -> bool {
        if let AuthResult::Failure { partial_success: true, .. } = answer {
            tried.push("(that one was right, and more is asked for than a key)".to_owned());
        }
        answer.success()
    }

    /// The agent and the keys of it that may be offered.
    async fn of_agent(&self, tried: &mut Vec<String>) -> Option<(AgentClient<local::Stream>, Vec<PublicKey>)> {
        let path = self.agent.as_ref()?;
        let ask = async {
            let mut agent = AgentClient::connect(local::connect(path).await?);
            let identities = agent.request_identities().await?;
            Ok::<_, KeyFileError>((agent, identities))
        };
        let (agent, identities) = match ask.await {
            Ok(found) => found,
            Err(error) => {
                tried.push(format!("not the agent at {} ({error})", path.display()));
                return None;
            }
        };
        let in_files: Vec<PublicKey> = self.keys.iter().filter_map(|path| offer::public_of(path)).collect();
        let keys = identities.into_iter().filter_map(|identity| match identity {
            AgentIdentity::PublicKey { key, .. } => Some(key),
            AgentIdentity::Certificate { .. } => None,
        });
        Some((agent, offer::of_agent(keys.collect(), &in_files, self.only_keys)))
    }
}

/// How a key signs; of one kind there are several ways.
async fn hash(handle: &Handle<Watcher>, key: &PublicKey) -> Option<HashAlg> {
    match key.algorithm() {
        // One that does not say what it takes is no older than that.
        Algorithm::Rsa { .. } => handle.best_supported_rsa_hash().await.ok().flatten().unwrap_or(Some(HashAlg::Sha512)),
        _ => None,
    }
}

/// A key, in words.
fn shown(key: &PublicKey) -> String {
    match key.comment().to_string() {
        comment if comment.is_empty() => key.fingerprint(HashAlg::Sha256).to_string(),
        comment => comment,
    }
}
