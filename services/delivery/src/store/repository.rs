//! Repositories, what was told of their references, and pushes under way.

use hafen_db::Migration;

pub const MIGRATION: Migration = Migration {
    name: "20261128_repositories",
    sql: "CREATE TABLE repository (id TEXT PRIMARY KEY, project TEXT NOT NULL, project_since BIGINT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL, default_branch TEXT NOT NULL, protected TEXT NOT NULL, size_limit BIGINT NOT NULL, object_limit BIGINT NOT NULL, size BIGINT NOT NULL, generation BIGINT NOT NULL, created_at BIGINT NOT NULL, pushed_at BIGINT NOT NULL, packed_at BIGINT NOT NULL, UNIQUE (project, name));
CREATE TABLE reference (repository TEXT NOT NULL, name TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (repository, name));
CREATE TABLE push (id TEXT PRIMARY KEY, repository TEXT NOT NULL, actor TEXT NOT NULL, updates TEXT NOT NULL, notes TEXT NOT NULL, state TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX push_repository ON push (repository, id);
CREATE TABLE deploy_key (id TEXT PRIMARY KEY, repository TEXT NOT NULL, name TEXT NOT NULL, public_key TEXT NOT NULL, fingerprint TEXT NOT NULL, writes BIGINT NOT NULL, created_by TEXT NOT NULL, created_at BIGINT NOT NULL, used_at BIGINT NOT NULL, UNIQUE (repository, fingerprint), UNIQUE (repository, name));
CREATE INDEX deploy_key_fingerprint ON deploy_key (fingerprint);
CREATE TABLE repository_gone (id TEXT PRIMARY KEY, at BIGINT NOT NULL);
",
};
