//! The problems of a manifest as one error that points at its lines.

use hafen_base::{Error, FieldProblem};
use hafen_manifest::Diagnostic;

/// All problems of a manifest as one error.
pub fn manifest_error(problems: &[Diagnostic], text: &str) -> Error {
    let fields = problems
        .iter()
        .map(|problem| FieldProblem {
            message: problem.message.clone(),
            help: problem.help.clone(),
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            rendered: hafen_manifest::render(std::slice::from_ref(problem), text, false),
            ..FieldProblem::default()
        })
        .collect();
    let count = problems.len();
    let plural = if count == 1 { "problem" } else { "problems" };
    Error::invalid(format!("the manifest has {count} {plural}")).with_code("manifest").with_fields(fields)
}
