//! Request bodies that git has compressed, unpacked as they come.

use std::io::{Error, ErrorKind, Result, Write as _};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::stream::{self, BoxStream, Stream, StreamExt as _};

/// Unpacked bytes of one request: a client that fetches names what it has, 50 bytes each; what is pushed is not compressed
/// again.
const MOST: usize = 512 << 20;
/// Compressed bytes at a time: a thousand times as much may come of them.
const PIECE: usize = 8 << 10;

struct State<S> {
    body: S,
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    rest: Bytes,
    /// Bytes that may still come.
    left: usize,
}

/// The unpacked body.
pub(super) fn gunzip<S>(body: S) -> BoxStream<'static, Result<Bytes>>
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin + 'static,
{
    gunzip_at_most(body, MOST)
}

fn gunzip_at_most<S>(body: S, most: usize) -> BoxStream<'static, Result<Bytes>>
where
    S: Stream<Item = Result<Bytes>> + Send + Unpin + 'static,
{
    let state =
        State { body, decoder: Some(MultiGzDecoder::new(Vec::new())), rest: Bytes::new(), left: most };
    stream::unfold(state, |mut state| async move {
        match state.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), state)),
            Ok(None) => None,
            Err(error) => {
                state.decoder = None;
                Some((Err(error), state))
            }
        }
    })
    .boxed()
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> State<S> {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(decoder) = &mut self.decoder else { return Ok(None) };
            if self.rest.is_empty() {
                if let Some(bytes) = self.body.next().await.transpose()? {
                    self.rest = bytes;
                } else {
                    decoder.try_finish()?;
                    let last = std::mem::take(decoder.get_mut());
                    self.decoder = None;
                    return self.give(last);
                }
            }
            let piece = self.rest.split_to(self.rest.len().min(PIECE));
            decoder.write_all(&piece)?;
            let unpacked = std::mem::take(decoder.get_mut());
            if let Some(bytes) = self.give(unpacked)? {
                return Ok(Some(bytes));
            }
        }
    }

    fn give(&mut self, unpacked: Vec<u8>) -> Result<Option<Bytes>> {
        let too_much = || Error::new(ErrorKind::InvalidData, "a request unpacks to too much");
        self.left = self.left.checked_sub(unpacked.len()).ok_or_else(too_much)?;
        Ok((!unpacked.is_empty()).then(|| unpacked.into()))
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    async fn unpacked(bytes: Vec<u8>, piece: usize) -> Result<Vec<u8>> {
        let pieces: Vec<Result<Bytes>> =
            bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut all = Vec::new();
        let mut body = gunzip_at_most(stream::iter(pieces), 1 << 20);
        while let Some(bytes) = body.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn what_was_packed_comes_out() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        for piece in [1, 1000, 1 << 20] {
            assert_eq!(unpacked(zipped(&text), piece).await.unwrap(), text, "{piece}");
        }
        assert_eq!(unpacked(zipped(b""), 7).await.unwrap(), b"");
        let mut broken = zipped(&text);
        broken.truncate(1000);
        assert!(unpacked(broken, 100).await.is_err());
        assert!(unpacked(b"no gzip at all".to_vec(), 100).await.is_err());
    }

    #[tokio::test]
    async fn a_bomb_is_put_out() {
        assert!(unpacked(zipped(&vec![0; 1 << 20]), 1 << 20).await.is_ok());
        let bomb = zipped(&vec![0; (1 << 20) + 1]);
        assert!(bomb.len() < 4096);
        assert!(unpacked(bomb, 1 << 20).await.is_err());
    }
}
