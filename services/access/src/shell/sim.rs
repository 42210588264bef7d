//! What stands in for a shell on a simulated machine: it says back what is typed, and knows its size and how to end.

use bytes::Bytes;
use hafen_remote::{Ended, Size, Typed};
use tokio::sync::mpsc;

/// A line that is longer is cut.
const LINE: usize = 1000;

pub(super) struct Simulated {
    name: String,
    size: Size,
    line: Vec<u8>,
}

impl Simulated {
    pub(super) fn new(name: &str, size: Size) -> Self {
        Self { name: name.to_owned(), size, line: Vec::new() }
    }

    pub(super) async fn run(mut self, mut typed: mpsc::Receiver<Typed>, heard: mpsc::Sender<Bytes>) -> Ended {
        let greeting = format!(
            "{} is simulated: it knows `echo`, `stty size` and `exit`.\r\n{}",
            self.name,
            self.prompt()
        );
        // Nobody is there any more: the next look at what is typed says so.
        let _gone = heard.send(greeting.into()).await;
        while let Some(typed) = typed.recv().await {
            let bytes = match typed {
                Typed::Resized(size) => {
                    self.size = size;
                    continue;
                }
                Typed::Bytes(bytes) => bytes,
            };
            let mut shown = Vec::new();
            let ended = bytes.iter().find_map(|byte| self.typed(*byte, &mut shown));
            let _gone = heard.send(shown.into()).await;
            if let Some(status) = ended {
                return Ended::Status(status);
            }
        }
        Ended::Otherwise
    }

    fn prompt(&self) -> String {
        format!("hafen@{}:~$ ", self.name)
    }

    /// What one byte shows; the status, where the shell ends with it.
    fn typed(&mut self, byte: u8, shown: &mut Vec<u8>) -> Option<u32> {
        match byte {
            b'\r' | b'\n' => {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                shown.extend_from_slice(b"\r\n");
                let words: Vec<&str> = line.split_whitespace().collect();
                let said = match words.as_slice() {
                    [] => String::new(),
                    ["exit"] => return Some(0),
                    ["exit", status] => return Some(status.parse::<u8>().map_or(2, u32::from)),
                    ["stty", "size"] => format!("{} {}\r\n", self.size.rows, self.size.columns),
                    ["echo", rest @ ..] => format!("{}\r\n", rest.join(" ")),
                    [word, ..] => format!("{word}: only on a real machine\r\n"),
                };
                shown.extend_from_slice(said.as_bytes());
                shown.extend_from_slice(self.prompt().as_bytes());
            }
            3 => {
                self.line.clear();
                shown.extend_from_slice(format!("^C\r\n{}", self.prompt()).as_bytes());
            }
            4 if self.line.is_empty() => return Some(0),
            // Nothing is left to rub out.
            8 | 127 if self.line.is_empty() => {}
            8 | 127 => {
                self.line.pop();
                shown.extend_from_slice(b"\x08 \x08");
            }
            byte if byte >= b' ' && self.line.len() < LINE => {
                self.line.push(byte);
                shown.push(byte);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_shown() {
        let mut simulated = Simulated::new("web-1", Size { columns: 80, rows: 24 });
        let mut play = |text: &str| {
            let mut shown = Vec::new();
            let ended = text.bytes().find_map(|byte| simulated.typed(byte, &mut shown));
            (String::from_utf8(shown).unwrap(), ended)
        };
        assert_eq!(play("echo  ab\x7fc\r").0, "echo  ab\x08 \x08c\r\nac\r\nhafen@web-1:~$ ");
        assert_eq!(play("stty size\r").0, "stty size\r\n24 80\r\nhafen@web-1:~$ ");
        assert_eq!(play("ls\x03").0, "ls^C\r\nhafen@web-1:~$ ");
        assert_eq!(play("ls /\r").0, "ls /\r\nls: only on a real machine\r\nhafen@web-1:~$ ");
        assert_eq!(play("exit 3\r").1, Some(3));
        assert_eq!(play("exit x\r").1, Some(2));
        assert_eq!(play("\x04").1, Some(0));
        assert_eq!(play(&"x".repeat(2000)).0.len(), LINE);
    }
}
