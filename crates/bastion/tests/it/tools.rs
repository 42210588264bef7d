//! What people use over SSH without thinking of it: git and Ansible, through the bastion, as they come.

use std::path::Path;
use std::process::Command;

use crate::python::environment;
use crate::rig::{MACHINE, Rig, text, user};

fn git(rig: &Rig, folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .env("GIT_SSH_COMMAND", format!("ssh -F {}", rig.path("config").display()))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env_remove("SSH_AUTH_SOCK")
        .output()
        .expect("apt-get install git");
    assert!(output.status.success(), "git {arguments:?}: {}{}", text(&output.stderr), rig.log(MACHINE));
    text(&output.stdout)
}

#[test]
fn git_clones_and_pushes() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    let there = format!("/tmp/hafen-bastion-git-{}", std::process::id());
    rig.good("ssh", &[MACHINE, &format!("git init --quiet --bare --initial-branch=main {there}")]);
    let far = format!("{MACHINE}:{there}");
    let (one, two) = (rig.path("one"), rig.path("two"));
    git(&rig, &rig.path(""), &["clone", "--quiet", &far, one.to_str().unwrap()]);
    crate::rig::noise(&one.join("noise"), 3 << 20);
    git(&rig, &one, &["add", "noise"]);
    git(&rig, &one, &["commit", "--quiet", "-m", "First"]);
    git(&rig, &one, &["push", "--quiet", "origin", "HEAD:main"]);
    git(&rig, &rig.path(""), &["clone", "--quiet", &far, two.to_str().unwrap()]);
    assert!(std::fs::read(one.join("noise")).unwrap() == std::fs::read(two.join("noise")).unwrap());
    std::fs::write(two.join("more"), "more\n").unwrap();
    git(&rig, &two, &["add", "more"]);
    git(&rig, &two, &["commit", "--quiet", "-m", "Second"]);
    git(&rig, &two, &["push", "--quiet", "origin", "HEAD:main"]);
    git(&rig, &one, &["pull", "--quiet", "--ff-only", "origin", "main"]);
    assert_eq!(git(&rig, &one, &["rev-parse", "HEAD"]), git(&rig, &two, &["rev-parse", "HEAD"]));
    assert_eq!(std::fs::read_to_string(one.join("more")).unwrap(), "more\n");
    rig.good("ssh", &[MACHINE, &format!("rm -rf {there}")]);
    // clone, push, clone, push, pull, and the two of ssh.
    rig.over(7);
}

const OTHER: &str = "web-2.hello.hafen";

fn ansible(rig: &Rig, program: &str, arguments: &[&str]) -> String {
    let bin = environment().join("bin");
    let output = Command::new("timeout")
        .args(["-k", "1", "300"])
        .arg(bin.join(program))
        .args(["-i", rig.path("inventory").to_str().unwrap(), "--forks", "2"])
        .args(arguments)
        .current_dir(rig.path(""))
        .env("HOME", rig.path("home"))
        // As it comes: connections are shared and kept; only not for longer than the test.
        .env("ANSIBLE_SSH_ARGS", "-o ControlMaster=auto -o ControlPersist=10s")
        .env("ANSIBLE_SSH_COMMON_ARGS", format!("-F {}", rig.path("config").display()))
        .env("ANSIBLE_SSH_CONTROL_PATH_DIR", rig.path("cp"))
        .env("ANSIBLE_NOCOLOR", "1")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("SSH_AUTH_SOCK")
        .output()
        .unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}{}", rig.log(MACHINE));
    said
}

#[test]
fn ansible_plays_on_two_machines() {
    let mut rig = Rig::start();
    rig.machine(MACHINE);
    rig.machine(OTHER);
    for folder in ["home", "cp"] {
        std::fs::create_dir(rig.path(folder)).unwrap();
    }
    let python = "ansible_python_interpreter=/usr/bin/python3";
    rig.write("inventory", &format!("{MACHINE} {python}\n{OTHER} {python}\n"), 0o600);
    let pinged = ansible(&rig, "ansible", &["all", "-m", "ping"]);
    assert_eq!(pinged.matches("\"ping\": \"pong\"").count(), 2, "{pinged}");
    let there = format!("/tmp/hafen-bastion-ansible-{}", std::process::id());
    let play = format!(
        "- hosts: all\n  gather_facts: true\n  tasks:\n    - copy:\n        content: \"{{{{ inventory_hostname }}}}\\n\"\n        \
         dest: {there}-{{{{ inventory_hostname }}}}\n    - command: cat {there}-{{{{ inventory_hostname }}}}\n      register: read\n    \
         - assert:\n        that: read.stdout == inventory_hostname and ansible_user_id == '{}'\n    \
         - file:\n        path: {there}-{{{{ inventory_hostname }}}}\n        state: absent\n",
        user()
    );
    let play = rig.write("play.yml", &play, 0o600);
    let played = ansible(&rig, "ansible-playbook", &[play.to_str().unwrap()]);
    assert_eq!(played.matches("failed=0").count(), 2, "{played}");
    assert_eq!(played.matches("changed=3").count(), 2, "{played}");
    let hosts: std::collections::BTreeSet<String> =
        rig.over(2).into_iter().map(|record| record.host).collect();
    assert_eq!(hosts.len(), 2, "{hosts:?}");
}
