//! The part of the JSON Schema that is about apps and routes.

use serde_json::{Value, json};

pub(crate) fn app() -> Value {
    let command = json!({ "type": "string", "minLength": 1, "maxLength": 4096 });
    let path = json!({ "type": "string", "minLength": 1, "maxLength": 1024 });
    let env = json!({
        "type": "object", "maxProperties": 256, "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": { "oneOf": [
            { "type": "string", "maxLength": 32768 },
            { "type": "object", "additionalProperties": false, "required": ["secret"],
              "properties": { "secret": { "$ref": "#/$defs/name" } } }
        ] }
    });
    json!({
        "type": "object", "additionalProperties": false, "required": ["source", "on"],
        "properties": {
            "source": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "repository": { "$ref": "#/$defs/name", "description": "A repository hosted here." },
                    "git": { "type": "string", "pattern": "^https://", "description": "One elsewhere, with a hook." },
                    "branch": { "type": "string", "default": "main" },
                    "token": {
                        "type": "object", "additionalProperties": false, "required": ["secret"],
                        "properties": { "secret": { "$ref": "#/$defs/name" } },
                        "description": "The secret that opens a private one elsewhere."
                    },
                    "username": { "type": "string", "pattern": "^[!-9;-~]{1,128}$", "default": "git", "description": "Whose token it is." }
                },
                "oneOf": [{ "required": ["repository"] }, { "required": ["git"] }],
                "dependentRequired": { "token": ["git"], "username": ["token"] }
            },
            "build": {
                "type": "object", "additionalProperties": false, "required": ["image"],
                "properties": {
                    "image": { "$ref": "#/$defs/name", "description": "The image section that the builder boots from." },
                    "run": { "type": "array", "maxItems": 64, "items": command },
                    "output": { "type": "string", "minLength": 1, "maxLength": 1024, "default": "." },
                    "cache": { "type": "array", "maxItems": 16, "items": path },
                    "env": env,
                    "timeout": { "$ref": "#/$defs/duration", "default": "10 min" }
                }
            },
            "on": { "$ref": "#/$defs/name", "description": "The machine section that it runs on." },
            "run": command,
            "static": path,
            "port": { "type": "integer", "minimum": 1, "maximum": 65535, "default": 8080 },
            "replicas": { "type": "integer", "minimum": 0, "maximum": 1000, "default": 1 },
            "health": {
                "type": "object", "additionalProperties": false, "required": ["path"],
                "properties": {
                    "path": { "type": "string", "pattern": "^/" },
                    "healthy_after": { "type": "integer", "minimum": 1, "maximum": 100, "default": 1 },
                    "interval": { "$ref": "#/$defs/duration", "default": "2s" },
                    "timeout": { "$ref": "#/$defs/duration", "default": "1s" }
                }
            },
            "strategy": { "enum": ["rolling", "blue-green"], "default": "rolling" },
            "migrate": command,
            "env": env,
            "preview": {
                "type": "object", "additionalProperties": false, "required": ["branches"],
                "properties": {
                    "branches": { "type": "array", "minItems": 1, "maxItems": 64, "items": { "type": "string" } },
                    "expires": { "$ref": "#/$defs/duration", "default": "7 days" },
                    "domain": { "type": "string" }
                }
            }
        },
        "oneOf": [{ "required": ["run"] }, { "required": ["static"] }]
    })
}

pub(crate) fn target() -> Value {
    let weight = json!({ "type": "integer", "minimum": 0, "maximum": 100, "description": "Percent of the path's requests." });
    json!({ "oneOf": [
        { "$ref": "#/$defs/name" },
        { "type": "object", "additionalProperties": false, "required": ["app"],
          "properties": { "app": { "$ref": "#/$defs/name" }, "weight": weight } },
        { "type": "object", "additionalProperties": false, "required": ["machines"],
          "properties": { "machines": { "$ref": "#/$defs/name" }, "weight": weight,
              "port": { "type": "integer", "minimum": 1, "maximum": 65535 } } }
    ] })
}

pub(crate) fn route() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["paths"],
        "properties": {
            "paths": {
                "type": "object", "minProperties": 1, "maxProperties": 100, "propertyNames": { "pattern": "^/" },
                "additionalProperties": { "oneOf": [
                    { "$ref": "#/$defs/target" },
                    { "type": "array", "minItems": 1, "maxItems": 16, "items": { "$ref": "#/$defs/target" } }
                ] }
            },
            "maintenance": { "type": "boolean", "default": false },
            "redirect_https": { "type": "boolean", "default": true },
            "hsts": { "$ref": "#/$defs/duration", "default": "365 days" },
            "max_body": { "$ref": "#/$defs/size" },
            "rate": { "type": "integer", "minimum": 0, "maximum": 1_000_000 }
        }
    })
}
