//! `plan`, `apply`, `destroy`, `drift`.

use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hafen_base::{Error, ErrorKind, Result};
use hafen_client::Client;
use hafen_client::wire::{Apply, ApplyCreate, Plan, PlanCreate, StackSource};
use serde_json::Value;

use super::context::{Context, client, fresh_key, usage};
use super::plan_text::{print_change, print_end, print_plan};
use crate::output::{self, line};
use crate::problems::manifest_error;

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[arg(long, short, default_value = "hafen.toml")]
    file: PathBuf,
    /// Exit with 3 when changes are pending.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Save the plan, to apply exactly it later.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A saved plan.
    #[arg(conflicts_with = "file")]
    plan: Option<PathBuf>,
    #[arg(long, short, default_value = "hafen.toml")]
    file: PathBuf,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
pub struct DestroyArgs {
    #[arg(long, short, default_value = "hafen.toml")]
    file: PathBuf,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

fn read_error(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("{} cannot be read: {error}", path.display()))
}

/// Reads a manifest with the files it names and its lock; problems are shown without asking a server.
pub(super) fn load(file: &Path) -> Result<(StackSource, String)> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let hint =
            if error.kind() == std::io::ErrorKind::NotFound { "; name another with -f FILE" } else { "" };
        Error::invalid(format!("{} cannot be read: {error}{hint}", file.display()))
    })?;
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shown = file.display().to_string();
    let root = folder.canonicalize().map_err(|error| read_error(folder, &error))?;
    let read = |name: &str| read_beside(&root, name);
    let manifest =
        hafen_manifest::parse(&text, &shown, &read).map_err(|problems| manifest_error(&problems, &text))?;
    if !manifest.warnings.is_empty() {
        output::note(hafen_manifest::render(&manifest.warnings, &text, false).trim_end());
    }
    let mut sources = BTreeMap::new();
    for name in hafen_manifest::source_names(&text) {
        let bytes = read(&name).map_err(|why| Error::invalid(format!("{name}: {why}")))?;
        sources.insert(name, STANDARD.encode(bytes));
    }
    let locks = match std::fs::read_to_string(folder.join("hafen.lock")) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| {
            Error::invalid(format!("hafen.lock is not what apply writes: {error}; remove it"))
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(read_error(&folder.join("hafen.lock"), &error)),
    };
    Ok((StackSource { manifest: text, file: shown, sources, locks }, manifest.project))
}

/// A file in the manifest's folder; a symlink must not lead out of it.
fn read_beside(root: &Path, name: &str) -> Result<Vec<u8>, String> {
    let path = root.join(name).canonicalize().map_err(|error| error.to_string())?;
    if !path.starts_with(root) {
        return Err("it leads out of the manifest's folder".into());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).map_err(|error| error.to_string())?;
    // One byte more than is taken, so that the size check sees it.
    file.take((8 << 20) + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Reads a saved plan. Its major version comes first: a later one may look quite different.
fn saved_plan(path: &Path, text: &str) -> Result<Plan> {
    let shown = path.display();
    let not_one = |why: String| {
        Error::invalid(format!("{shown} is not a saved plan ({why}): make one with hafen plan --out FILE"))
    };
    let value: Value = serde_json::from_str(text).map_err(|error| not_one(error.to_string()))?;
    let version = value.get("format_version").and_then(Value::as_str).unwrap_or("");
    match version.split_once('.') {
        Some(("1", _)) => serde_json::from_value(value).map_err(|error| not_one(error.to_string())),
        Some((major, _)) if !major.is_empty() => Err(Error::invalid(format!(
            "{shown} is of plan format {version}, and this hafen knows 1: plan again with this version"
        ))),
        _ => Err(not_one("it has no format_version".to_owned())),
    }
}

async fn make_plan(client: &Client, file: &Path, destroy: bool) -> Result<Plan> {
    let (source, project) = load(file)?;
    client.plan_create(&project, &PlanCreate { source, destroy }).await
}

pub async fn plan(context: &Context, args: PlanArgs) -> Result<u8> {
    // A wrong manifest is told before anything else is asked for.
    let (source, project) = load(&args.file)?;
    let client = client()?;
    let plan = client.plan_create(&project, &PlanCreate { source, destroy: false }).await?;
    if let Some(path) = &args.out {
        save(path, &plan)?;
    }
    if context.json {
        output::json(&plan)?;
    } else {
        print_plan(&plan);
        if let Some(path) = &args.out {
            line(&format!("\nSaved; apply exactly this with: hafen apply {}", path.display()));
        }
    }
    if !plan.problems.is_empty() {
        return Ok(1);
    }
    Ok(if args.detailed_exitcode && plan.counts.any() { 3 } else { 0 })
}

/// A plan holds the sources of images: for its owner only.
fn save(path: &Path, plan: &Plan) -> Result<()> {
    let text = serde_json::to_string(plan).map_err(Error::internal)?;
    let write = || -> std::io::Result<()> {
        let mut file =
            std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| Error::unavailable(format!("{} cannot be written: {error}", path.display())))
}

pub async fn apply(context: &Context, args: ApplyArgs) -> Result<u8> {
    let (plan, folder) = if let Some(path) = &args.plan {
        let text = std::fs::read_to_string(path).map_err(|error| read_error(path, &error))?;
        let plan = saved_plan(path, &text)?;
        let folder = folder_of(&plan);
        (plan, folder)
    } else {
        // A wrong manifest is told before anything else is asked for.
        load(&args.file)?;
        let plan = make_plan(&client()?, &args.file, false).await?;
        (plan, args.file.parent().map(Path::to_path_buf))
    };
    let client = client()?;
    if !context.json {
        print_plan(&plan);
    }
    let code = confirm_and_run(context, &client, &plan, args.yes || args.plan.is_some()).await?;
    if code == 0
        && let Some(folder) = folder
    {
        write_lock(&client, &plan.project, &folder).await?;
    }
    Ok(code)
}

/// Where the lock of a saved plan belongs: beside its manifest, if that is here and still the one that was planned.
fn folder_of(plan: &Plan) -> Option<PathBuf> {
    let file = Path::new(&plan.source.file);
    let same = std::fs::read_to_string(file).is_ok_and(|text| text == plan.source.manifest);
    file.parent().filter(|_| same).map(Path::to_path_buf)
}

pub async fn destroy(context: &Context, args: DestroyArgs) -> Result<u8> {
    let client = client()?;
    // Without a manifest beside us, the end of a project needs only its name.
    let plan = match context.named_project() {
        Some(project) => {
            let stack = client.stack_get(project).await?;
            client.plan_create(project, &PlanCreate { source: stack.source, destroy: true }).await?
        }
        None => make_plan(&client, &args.file, true).await?,
    };
    if !context.json {
        print_plan(&plan);
    }
    confirm_and_run(context, &client, &plan, args.yes).await
}

pub async fn drift(context: &Context) -> Result<u8> {
    let client = client()?;
    let project = context.project(&client).await?;
    let drift = client.drift_get(&project).await?;
    if context.json {
        output::json(&drift)?;
    } else if drift.resource_drift.is_empty() {
        line("Reality is as it was applied.");
    } else {
        line("Reality left what was applied:");
        for change in &drift.resource_drift {
            print_change(change);
        }
    }
    Ok(if drift.resource_drift.is_empty() { 0 } else { 3 })
}

async fn confirm_and_run(context: &Context, client: &Client, plan: &Plan, yes: bool) -> Result<u8> {
    if !plan.problems.is_empty() {
        let problems = plan.problems.join("; ");
        return Err(
            Error::conflict(format!("the plan cannot be applied: {problems}")).with_code("plan_has_problems")
        );
    }
    // Without changes nobody needs to be asked. The apply is made all the same: it keeps the manifest as the one applied.
    if !yes && plan.counts.any() {
        if !std::io::stdin().is_terminal() {
            return Err(usage("nobody is there to ask; say --yes to go on without asking"));
        }
        let _unheard = write!(std::io::stderr(), "\nApply this? Only \"yes\" goes on: ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Error::internal)?;
        if answer.trim() != "yes" {
            output::note("Nothing was changed.");
            return Ok(1);
        }
    }
    let apply = client.apply_create(&plan.project, &ApplyCreate { plan: plan.clone() }, &fresh_key()).await;
    let apply = apply.map_err(|error| match error.kind() {
        ErrorKind::Stale => {
            Error::new(ErrorKind::Stale, format!("{}; plan again and look at what changed", error.message()))
        }
        _ => error,
    })?;
    let ended = tokio::select! {
        ended = follow(context, client, &plan.project, &apply) => ended?,
        _ = tokio::signal::ctrl_c() => {
            let stop = format!("Stop it with: hafen operation cancel {}", apply.id);
            output::note(&format!("\nThe apply goes on without us. {stop}"));
            return Ok(1);
        }
    };
    if context.json {
        output::json(&ended)?;
    } else {
        print_end(&ended);
    }
    Ok(u8::from(ended.status != "succeeded"))
}

/// Prints what changes until the apply ended. A platform that restarts meanwhile is waited for.
async fn follow(context: &Context, client: &Client, project: &str, apply: &Apply) -> Result<Apply> {
    let id = apply.id.to_string();
    let mut shown: HashMap<String, String> = HashMap::new();
    let mut lost = 0;
    loop {
        let now = match client.apply_get(project, &id).await {
            Ok(now) => now,
            Err(error) if error.kind() == ErrorKind::Unavailable && lost < 150 => {
                lost += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        lost = 0;
        if !context.json {
            for step in &now.steps {
                let text = match step.status.as_str() {
                    "pending" => continue,
                    "done" => format!("{} done", step.action),
                    status if step.message.is_empty() => format!("{} {status}", step.action),
                    status => {
                        format!("{} {status}: {}", step.action, output::brief(&step.message))
                    }
                };
                let key = format!("{} {}", step.address, step.action);
                if shown.get(&key) != Some(&text) {
                    line(&format!("{}: {text}", step.address));
                    shown.insert(key, text);
                }
            }
        }
        if now.status != "running" {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn write_lock(client: &Client, project: &str, folder: &Path) -> Result<()> {
    let locks: BTreeMap<String, String> = client
        .image_list(project)
        .await?
        .into_iter()
        .filter(|image| !image.lock.is_empty())
        .map(|image| (image.name, image.lock))
        .collect();
    let path = folder.join("hafen.lock");
    let text = format!("{}\n", serde_json::to_string_pretty(&locks).map_err(Error::internal)?);
    if std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let new = folder.join("hafen.lock.new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, &path))
        .map_err(|error| Error::unavailable(format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_of_another_major_version_is_refused_by_its_version() {
        let path = Path::new("saved.plan");
        for (text, told) in [
            (r#"{"format_version":"2.0","quite":"different"}"#, "plan format 2.0"),
            (r#"{"format_version":"10.1"}"#, "plan format 10.1"),
            ("{}", "no format_version"),
            ("plan", "not a saved plan"),
            (r#"{"format_version":"1.0"}"#, "missing field"),
        ] {
            let error = saved_plan(path, text).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("saved.plan"), "{text}: {error}");
        }
        let plan = Plan {
            format_version: "1.0".into(),
            project: "hello".into(),
            destroy: false,
            serial: 0,
            reality: String::new(),
            resource_changes: Vec::new(),
            resource_drift: Vec::new(),
            counts: Default::default(),
            problems: Vec::new(),
            warnings: Vec::new(),
            source: StackSource::default(),
        };
        let mut later = serde_json::to_value(&plan).unwrap();
        later["format_version"] = json!("1.7");
        later["new_in_1_7"] = json!({});
        assert_eq!(saved_plan(path, &later.to_string()).unwrap().format_version, "1.7");
    }

    #[test]
    fn a_source_outside_the_folder_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
        std::fs::write(root.join("file"), "x").unwrap();
        assert_eq!(read_beside(&root, "file"), Ok(b"x".to_vec()));
        assert!(read_beside(&root, "link").unwrap_err().contains("leads out"));
    }
}
