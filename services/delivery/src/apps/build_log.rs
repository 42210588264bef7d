//! The log of a build: what is said, in the order in which it is said, with stars in the place of secrets.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use hafen_base::{Error, Result};
use hafen_remote::Sink;
use tokio::io::AsyncWriteExt as _;

use super::mask::{Mask, Values};

/// What a build may print; the rest is left out.
const MOST: u64 = 16 << 20;

pub(crate) struct Log {
    file: tokio::fs::File,
    written: u64,
    mask: Option<Mask>,
}

impl Log {
    /// Goes on with what an earlier attempt said.
    pub async fn create(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await.map_err(Error::internal)?;
        }
        let file = tokio::fs::OpenOptions::new().create(true).append(true).open(path).await;
        Ok(Self { file: file.map_err(Error::internal)?, written: 0, mask: None })
    }

    /// From now on these are not said.
    pub fn hides(&mut self, values: Values) {
        self.mask = (!values.is_empty()).then(|| Mask::new(Arc::new(values)));
    }

    /// What was said until now goes on no more: a value that it broke off in is none of what comes.
    pub async fn breaks_off(&mut self) -> Result<()> {
        let rest = self.mask.as_mut().map(Mask::end).unwrap_or_default();
        self.write(&rest).await
    }

    pub async fn done(&mut self) -> Result<()> {
        self.breaks_off().await?;
        self.file.flush().await.map_err(Error::internal)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() || self.written >= MOST {
            return Ok(());
        }
        self.file.write_all(bytes).await.map_err(Error::internal)?;
        self.written += u64::try_from(bytes.len()).unwrap_or(0);
        if self.written >= MOST {
            let last = b"\n(the rest of the log is left out)\n";
            self.file.write_all(last).await.map_err(Error::internal)?;
        }
        // Who follows it sees it now.
        self.file.flush().await.map_err(Error::internal)
    }
}

#[async_trait]
impl Sink for Log {
    async fn out(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.mask {
            Some(mask) => {
                let said = mask.take(bytes);
                self.write(&said).await
            }
            None => self.write(bytes).await,
        }
    }

    async fn err(&mut self, bytes: &[u8]) -> Result<()> {
        self.out(bytes).await
    }
}
