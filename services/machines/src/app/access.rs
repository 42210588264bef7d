//! Ways into a machine: certificates, connections, the console, the serial log. They read and reach; they change nothing.

use std::net::SocketAddrV4;
use std::time::Duration;

use hafen_base::{Actor, ActorKind, Error, Result, SshSessionId, Timestamp};
use hafen_client::wire::{MachineState, SshCertificate, SshCertificateCreate};
use hafen_db::store_error;
use serde_json::json;

use crate::Machines;
use crate::ca::{LOGIN_USER, Place, UserWish, principal};
use crate::engine::BoxDuplex;
use crate::model::MachineRow;

/// Somebody's way into a machine while it is open.
pub struct Connection {
    id: String,
    actor: Actor,
    project: String,
    machine: String,
    /// None for the console.
    port: Option<u16>,
    opened_at: Timestamp,
}

impl Connection {
    fn what(&self) -> String {
        match self.port {
            Some(port) => format!("a connection to port {port} of {}", self.machine),
            None => format!("the console of {}", self.machine),
        }
    }
}

impl Machines {
    pub async fn ssh_certificate(
        &self,
        project: &str,
        body: &SshCertificateCreate,
    ) -> Result<SshCertificate> {
        self.project_must_exist(project).await?;
        if !(1..=3600).contains(&body.ttl) || body.public_key.len() > 4096 {
            return Err(Error::invalid(
                "a certificate lasts 1 to 3600 seconds, and its public key has at most 4 KiB",
            ));
        }
        let ttl = Duration::from_secs(u64::try_from(body.ttl).unwrap_or(1));
        let (now, random) = (self.0.now(), &*self.0.random);
        let key_id = format!("{project}/operator");
        let principals = [principal(project)];
        let wish = UserWish {
            place: Place::Machine,
            principals: &principals,
            key_id: &key_id,
            source_address: None,
            ttl,
        };
        let signed = self.0.ca.sign_user(&body.public_key, &wish, now, random)?;
        let (certificate, serial, valid_before) = (signed.certificate, signed.serial, signed.until);
        let mut tx = self.0.db.write().await?;
        let message = format!("SSH certificate {serial} issued for {} s", body.ttl);
        let data = json!({ "serial": serial.to_string(), "valid_before": valid_before });
        self.event(&mut tx, project, "ssh.certificate_issued", format!("project/{project}"), message, data)
            .await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        Ok(SshCertificate {
            certificate,
            user: LOGIN_USER.into(),
            host_ca: self.0.ca.host_public()?,
            serial: serial.to_string(),
            valid_before,
        })
    }

    pub async fn machine_serial(&self, row: &MachineRow, lines: usize) -> Result<Vec<String>> {
        self.0.engine.machine_serial(row.id, lines).await
    }

    /// Writes down that somebody reaches into a machine, before a byte is carried: what cannot be recorded is not done. The
    /// platform's own connections are not written down here, as the bastion does it for people, and checks are no access.
    pub async fn connection_opened(
        &self,
        project: &str,
        name: &str,
        port: Option<u16>,
    ) -> Result<Option<Connection>> {
        let actor = Actor::current();
        if actor.kind == ActorKind::Platform {
            return Ok(None);
        }
        let row = self.machine_row(project, name).await?;
        let (now, random) = (self.0.now(), &*self.0.random);
        let connection = Connection {
            id: SshSessionId::generate(now, random).to_string(),
            actor,
            project: project.to_owned(),
            machine: row.name,
            port,
            opened_at: now,
        };
        let message = format!("{} opened {}", connection.actor.name, connection.what());
        let data = json!({ "connection": connection.id, "port": port });
        let kind = if port.is_some() { "machine.connection_opened" } else { "machine.console_opened" };
        let mut tx = self.0.db.write().await?;
        self.event(&mut tx, project, kind, format!("machine/{}", connection.machine), message, data).await?;
        tx.commit().await.map_err(store_error)?;
        self.0.events.ring();
        Ok(Some(connection))
    }

    /// Writes down that it is over. `sent` went to the machine.
    pub async fn connection_closed(&self, connection: Connection, sent: u64, received: u64) {
        let seconds = self.0.now().since(connection.opened_at).as_secs();
        let message = format!(
            "{} closed {} after {seconds} s: {sent} bytes in, {received} bytes out",
            connection.actor.name,
            connection.what()
        );
        let data = json!({ "connection": connection.id, "port": connection.port, "opened_at": connection.opened_at,
                           "seconds": seconds, "sent": sent, "received": received });
        let kind =
            if connection.port.is_some() { "machine.connection_closed" } else { "machine.console_closed" };
        let object = format!("machine/{}", connection.machine);
        let written = async {
            let mut tx = self.0.db.write().await?;
            self.event(&mut tx, &connection.project, kind, object, message, data).await?;
            tx.commit().await.map_err(store_error)
        };
        let written: Result<()> = connection.actor.clone().acts(written).await;
        match written {
            Ok(()) => self.0.events.ring(),
            Err(error) => {
                tracing::error!(cause = %error.cause_chain(), "the end of a connection is not written down: {error}");
            }
        }
    }

    pub async fn machine_console(&self, project: &str, name: &str) -> Result<BoxDuplex> {
        let row = self.machine_row(project, name).await?;
        self.0.engine.machine_console(row.id).await
    }

    pub async fn machine_dial(&self, project: &str, name: &str, port: u16) -> Result<BoxDuplex> {
        if port == 0 {
            return Err(Error::invalid_field("/port", "a port is between 1 and 65535"));
        }
        let row = self.machine_row(project, name).await?;
        if row.state != MachineState::Started {
            return Err(Error::conflict(format!("machine {name:?} is {}, not started", row.state.as_str())));
        }
        self.0.engine.dial(row.network_id, SocketAddrV4::new(row.address, port)).await
    }
}
