//! Instances that later ones replaced. The current one stands in the row of its machine.

use hafen_base::{InstanceId, MachineId, Result, Timestamp};
use hafen_client::wire::{MachineInstance, MachineSpec};
use hafen_db::{Tx, sqlx, store_error};

use super::{Reads, json, number, parsed, to_json};

/// Kept for each machine; a machine that is rebuilt every minute must not grow without end.
const KEPT: i64 = 100;

pub async fn replaced(
    tx: &mut Tx,
    machine: MachineId,
    instance: InstanceId,
    spec: &MachineSpec,
    now: Timestamp,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO replaced_instance (instance_id, machine_id, spec, replaced_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(instance.to_string())
    .bind(machine.to_string())
    .bind(to_json(spec)?)
    .bind(now.micros())
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    sqlx::query(
        "DELETE FROM replaced_instance WHERE machine_id = $1 AND instance_id NOT IN (SELECT instance_id FROM \
         replaced_instance WHERE machine_id = $1 ORDER BY replaced_at DESC, instance_id DESC LIMIT $2)",
    )
    .bind(machine.to_string())
    .bind(KEPT)
    .execute(&mut **tx)
    .await
    .map_err(store_error)?;
    Ok(())
}

/// Newest first.
pub async fn list<'c>(db: impl Reads<'c>, machine: MachineId) -> Result<Vec<MachineInstance>> {
    let rows = sqlx::query(
        "SELECT instance_id, spec, replaced_at FROM replaced_instance WHERE machine_id = $1 \
         ORDER BY replaced_at DESC, instance_id DESC",
    )
    .bind(machine.to_string())
    .fetch_all(db)
    .await
    .map_err(store_error)?;
    rows.iter()
        .map(|row| {
            Ok(MachineInstance {
                instance_id: parsed(row, "instance_id")?,
                state: "replaced".into(),
                replaced_at: Some(Timestamp::from_micros(number(row, "replaced_at")?)),
                spec: json(row, "spec")?,
            })
        })
        .collect()
}
