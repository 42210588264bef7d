//! JSON Schema of the manifest, for editors: completion, and errors while typing. What spans keys stays with `check`.

use serde_json::{Value, json};

/// The schema (draft 2020-12).
pub fn schema() -> Value {
    let name = json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" });
    let size = json!({ "type": "string", "pattern": "^[0-9]+ *(B|[kK]B|MB|GB|TB|KiB|MiB|GiB|TiB)$", "examples": ["512 MiB", "4 GiB"] });
    let duration = json!({ "type": "string", "pattern": "^[0-9]+ *(ms|s|m|min|h|d|day|days)$", "examples": ["2s", "500ms", "10 min", "7 days"] });
    let content = json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "source": { "type": "string", "description": "A file beside the manifest." },
            "content": { "type": "string", "description": "The content itself." }
        },
        "oneOf": [{ "required": ["source"] }, { "required": ["content"] }]
    });
    let sections = |of: &str| {
        json!({
            "type": "object", "propertyNames": { "$ref": "#/$defs/name" }, "additionalProperties": { "$ref": format!("#/$defs/{of}") }
        })
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hafen manifest",
        "type": "object",
        "additionalProperties": false,
        "required": ["project"],
        "properties": {
            "project": { "$ref": "#/$defs/name", "description": "Name of the project." },
            "quota": { "$ref": "#/$defs/quota" },
            "network": sections("network"),
            "image": sections("image"),
            "machine": sections("machine"),
            "app": sections("app"),
            "route": {
                "type": "object", "description": "By host, as [route.\"shop.example.org\"].",
                "propertyNames": { "pattern": "^([*][.])?[a-z0-9-]+([.][a-z0-9-]+)*$" },
                "additionalProperties": { "$ref": "#/$defs/route" }
            },
        },
        "$defs": {
            "name": name, "size": size, "duration": duration, "content": content,
            "app": crate::schema_of_delivery::app(), "route": crate::schema_of_delivery::route(), "target": crate::schema_of_delivery::target(),
            "quota": {
                "type": "object", "additionalProperties": false, "description": "Hard limits of the project.",
                "properties": {
                    "machines": { "type": "integer", "minimum": 0 }, "cpus": { "type": "integer", "minimum": 0 },
                    "memory": { "$ref": "#/$defs/size" }, "disk": { "$ref": "#/$defs/size" }
                }
            },
            "network": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "egress": {
                        "description": "What may leave the network.", "default": "none",
                        "oneOf": [
                            { "enum": ["none", "logged"] },
                            { "type": "object", "additionalProperties": false, "required": ["allow"], "properties": {
                                "allow": { "type": "array", "items": { "type": "string", "pattern": "^[A-Za-z0-9.-]+:[0-9]{1,5}$" } } } }
                        ]
                    },
                    "subnet": { "type": "string", "description": "Private IPv4 network of /12 to /28; chosen when absent.", "examples": ["10.40.0.0/24"] }
                }
            },
            "image": {
                "type": "object", "additionalProperties": false,
                "properties": {
                    "distribution": { "const": "debian" },
                    "release": { "enum": ["trixie", "bookworm"] },
                    "packages": { "type": "array", "items": { "type": "string" } },
                    "files": {
                        "type": "object", "description": "By absolute path.",
                        "additionalProperties": {
                            "type": "object", "additionalProperties": false,
                            "properties": {
                                "source": { "type": "string" }, "content": { "type": "string" },
                                "mode": { "type": "string", "pattern": "^[0-7]{3,4}$", "default": "0644" }
                            }
                        }
                    },
                    "url": { "type": "string", "pattern": "^https://" },
                    "file": { "type": "string", "pattern": "^/" },
                    "sha256": { "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" },
                    "firmware": { "enum": ["bios", "uefi"], "default": "bios" }
                },
                "oneOf": [
                    { "required": ["distribution", "release"] },
                    { "required": ["sha256"], "oneOf": [{ "required": ["url"] }, { "required": ["file"] }] }
                ]
            },
            "machine": {
                "type": "object", "additionalProperties": false, "required": ["image", "network"],
                "properties": {
                    "count": { "type": "integer", "minimum": 0, "maximum": crate::MAX_MACHINES,
                        "description": "A cluster: NAME-1 to NAME-count. Absent: one machine called NAME." },
                    "image": { "$ref": "#/$defs/name" },
                    "cpus": { "type": "integer", "minimum": 1, "maximum": 256, "default": 1 },
                    "memory": { "$ref": "#/$defs/size", "default": "512 MiB" },
                    "disk": { "$ref": "#/$defs/size", "default": "4 GiB" },
                    "network": { "$ref": "#/$defs/name" },
                    "address": { "type": "string", "format": "ipv4" },
                    "user_data": { "$ref": "#/$defs/content" },
                    "publish": { "type": "array", "items": {
                        "type": "object", "additionalProperties": false, "required": ["host", "port"],
                        "properties": { "host": { "type": "string", "examples": ["127.0.0.1:8081"] },
                            "port": { "type": "integer", "minimum": 1, "maximum": 65535 } } } },
                    "health": {
                        "type": "object", "additionalProperties": false,
                        "properties": {
                            "http": { "type": "string", "pattern": "^/" }, "tcp": { "type": "boolean" },
                            "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
                            "interval": { "$ref": "#/$defs/duration", "default": "2s" },
                            "timeout": { "$ref": "#/$defs/duration", "default": "1s" },
                            "healthy_after": { "type": "integer", "minimum": 1, "maximum": 100, "default": 1 }
                        },
                        "oneOf": [{ "required": ["http"] }, { "required": ["tcp"] }]
                    },
                    "start": { "enum": ["warm", "cold"], "default": "warm" },
                    "metadata": { "type": "object", "additionalProperties": { "type": "string" } },
                    "depends_on": { "type": "array", "items": { "type": "string", "pattern": "^machine\\." } }
                }
            }
        }
    })
}
