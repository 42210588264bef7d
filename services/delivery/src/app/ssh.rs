//! Git over SSH: the bastion brings somebody and a command.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use hafen_base::{Actor, ActorKind, Error, ErrorKind, Result};
use hafen_bastion::{Git, GitCaller, GitOutput};
use hafen_client::wire::DeployKeyAccess;
use hafen_db::store_error;
use hafen_git::{Exchange, Piece, Rpc, Service};
use tokio::sync::mpsc;

use super::push::PushGate;
use super::repository::no_repository;
use crate::model::Pusher;
use crate::store::repository::RepositoryRow;
use crate::{Delivery, store};

/// Who asks, and by what right.
struct Admitted {
    actor: Actor,
    pusher: Pusher,
    row: RepositoryRow,
}

/// Bytes beyond a repository's limit before a push is cut off; below that it is told by how much it is too large.
const SLACK: i64 = 64 << 20;
/// What a deploy key that may push holds.
const KEY_ROLE: &str = "developer";

/// What a command of a stock client asks for: service, project, repository.
fn read_command(command: &str) -> Option<(Service, String, String)> {
    let command = command.trim();
    let (verb, path) = match command.strip_prefix("git ") {
        Some(rest) => rest.trim_start().split_once(' ').map(|(verb, path)| (format!("git-{verb}"), path))?,
        None => command.split_once(' ').map(|(verb, path)| (verb.to_owned(), path))?,
    };
    let service = Service::named(&verb)?;
    let path = path.trim();
    // As git quotes for a shell; names have nothing in them that would be quoted within.
    let path = match path.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'')?,
        None => path,
    };
    let path = path.trim_start_matches('/');
    let (project, repository) = path.split_once('/')?;
    let repository = repository.strip_suffix('/').unwrap_or(repository);
    let repository = repository.strip_suffix(".git").unwrap_or(repository);
    let good = |name: &str| hafen_base::check_label("a name", name).is_ok();
    (good(project) && good(repository)).then(|| (service, project.to_owned(), repository.to_owned()))
}

impl Delivery {
    async fn ssh_admit(
        &self,
        caller: GitCaller,
        service: Service,
        project: &str,
        repository: &str,
    ) -> Result<Admitted> {
        let hidden = || no_repository(project, repository);
        match caller {
            GitCaller::Person { actor, projects } => {
                if !projects.iter().any(|one| one == project) {
                    return Err(hidden());
                }
                let action =
                    if service == Service::ReceivePack { "repository.push" } else { "repository.read" };
                let roles = self.0.rights.roles(&actor, action, project).await?;
                let Some(roles) = roles else {
                    // Who may look is told that pushing is not theirs; nobody else hears of anything.
                    return match self.0.rights.roles(&actor, "repository.read", project).await? {
                        Some(_) => {
                            Err(Error::new(ErrorKind::Forbidden, format!("{action} is not permitted to you")))
                        }
                        None => Err(hidden()),
                    };
                };
                let row = self.repository_row(project, repository).await?;
                let all = actor.kind == ActorKind::LocalOperator;
                Ok(Admitted { actor, pusher: Pusher { roles, all }, row })
            }
            GitCaller::Key { fingerprint, address } => {
                let row = match self.repository_row(project, repository).await {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Err(hidden()),
                    row => row?,
                };
                let id = &row.repository.id;
                let key = store::deploy_key::find(self.0.db.reader(), id, &fingerprint).await?;
                let key = key.ok_or_else(hidden)?;
                if service == Service::ReceivePack && key.access != DeployKeyAccess::Write {
                    return Err(Error::new(
                        ErrorKind::Forbidden,
                        "this deploy key may fetch, and not push: a maintainer can add one with --write",
                    ));
                }
                let mut tx = self.0.db.write().await?;
                store::deploy_key::used(&mut tx, &key.id, self.0.now()).await?;
                tx.commit().await.map_err(store_error)?;
                let actor = Actor {
                    kind: ActorKind::Workload,
                    id: key.id.clone(),
                    name: format!("deploy key {}", key.name),
                    credential: format!("deploy-key/{}", key.id),
                    address: Some(address.to_string()),
                    ..Actor::platform()
                };
                Ok(Admitted { actor, pusher: Pusher { roles: vec![KEY_ROLE.into()], all: false }, row })
            }
        }
    }
}

#[async_trait]
impl Git for Delivery {
    async fn knows(&self, fingerprint: &str) -> Result<bool> {
        store::deploy_key::is_known(self.0.db.reader(), fingerprint).await
    }

    async fn run(
        &self,
        caller: GitCaller,
        command: String,
        protocol: Option<String>,
        input: mpsc::Receiver<Bytes>,
        output: mpsc::Sender<GitOutput>,
    ) -> Result<u32> {
        let (service, project, repository) = read_command(&command).ok_or_else(|| {
            Error::invalid(
                "git clone, fetch and push of ssh://…/PROJECT/REPOSITORY.git are what there is here",
            )
        })?;
        let Admitted { actor, pusher, row } = self.ssh_admit(caller, service, &project, &repository).await?;
        let folder = hafen_git::Repository::new(&row.repository.id)?;
        self.0.git.ensure(&folder, &row.repository.default_branch).await?;
        let pushes = service == Service::ReceivePack;
        let room = (row.repository.size_limit - row.repository.size).max(0).saturating_add(SLACK);
        let gate = pushes.then(|| PushGate::new(self.clone(), row.repository, actor.clone(), pusher));
        let exchange = Exchange {
            service,
            rpc: Rpc::Whole,
            protocol,
            largest: u64::try_from(room).ok().filter(|_| pushes),
            gate: gate.clone().map(|gate| gate as _),
        };
        let begun = self.0.git.exchange(&folder, exchange).await?;
        let input = Box::pin(stream::unfold(input, |mut input| async move {
            input.recv().await.map(|bytes| (Ok::<_, std::io::Error>(bytes), input))
        }));
        let (pieces, mut said) = mpsc::channel(8);
        // A task of its own: what git was permitted is told, also when the connection ends in the middle.
        let carried = tokio::spawn(actor.acts(async move {
            let ended = begun.carry(input, pieces).await;
            if let Some(gate) = gate {
                gate.tell().await;
            }
            ended
        }));
        while let Some(piece) = said.recv().await {
            let piece = match piece {
                Piece::Out(bytes) => GitOutput::Out(bytes),
                Piece::Err(bytes) => GitOutput::Err(bytes),
            };
            if output.send(piece).await.is_err() {
                break;
            }
        }
        drop(said);
        let ended = carried.await.map_err(Error::internal)??;
        Ok(ended.status.and_then(|status| u32::try_from(status).ok()).unwrap_or(128))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_stock_clients_and_nothing_else() {
        let names = |text: &str| {
            read_command(text).map(|(service, project, repository)| (service.name(), project, repository))
        };
        let hello = |service| Some((service, "hello".to_owned(), "shop".to_owned()));
        for (command, expected) in [
            ("git-upload-pack '/hello/shop.git'", hello("git-upload-pack")),
            ("git-upload-pack 'hello/shop.git'", hello("git-upload-pack")),
            ("git upload-pack '/hello/shop'", hello("git-upload-pack")),
            ("git-receive-pack '/hello/shop.git/'", hello("git-receive-pack")),
            ("git-receive-pack hello/shop.git", hello("git-receive-pack")),
            ("git-upload-archive '/hello/shop.git'", None),
            ("git-upload-pack --upload-pack=id '/hello/shop.git'", None),
            ("git-upload-pack '/hello/shop.git' ; id", None),
            ("git-upload-pack '/hello/shop.git'; id'", None),
            ("git-upload-pack '/hello/../x'", None),
            ("git-upload-pack '/hello/a/b.git'", None),
            ("git-upload-pack '/hello'", None),
            ("git-upload-pack", None),
            ("", None),
            ("sh", None),
            ("scp -t /", None),
        ] {
            assert_eq!(names(command), expected, "{command}");
        }
    }
}
