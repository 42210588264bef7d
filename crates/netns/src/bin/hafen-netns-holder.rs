//! Holds one network: what the hafen binary does for `hafen netns-holder FOLDER`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: hafen-netns-holder FOLDER");
        return ExitCode::from(2);
    };
    match hafen_netns::holder::run(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
