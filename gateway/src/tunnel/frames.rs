//! WebSocket frames (RFC 6455 section 5.2) as they go by, and the one frame that we write ourselves.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest header of a frame.
const HEADER: usize = 14;
const CLOSE: u8 = 0x8;

/// Follows the frames of one direction by their headers alone: nothing is kept of what they carry, and nothing is judged.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; HEADER],
    /// How much of the header of the current frame has been seen.
    seen: usize,
    /// How much of what the frame carries is still to come.
    left: u64,
    closed: bool,
}

impl Frames {
    /// Goes on to the end of the current frame or of `bytes`, whichever is first, and says how many of them that is.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while self.left == 0 {
            let Some((first, others)) = rest.split_first() else {
                return bytes.len();
            };
            self.header[self.seen] = *first;
            self.seen += 1;
            rest = others;
            if let Some(length) = self.length() {
                self.left = length;
                if length == 0 {
                    self.finish();
                    return bytes.len() - rest.len();
                }
            }
        }
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
        self.left -= here as u64;
        if self.left == 0 {
            self.finish();
        }
        bytes.len() - rest.len() + here
    }

    /// Goes on by all of `bytes`.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.advance(bytes)..];
        }
    }

    /// Whether the next byte begins a frame.
    pub(crate) fn at_boundary(&self) -> bool {
        self.seen == 0
    }

    /// Whether a Close frame has gone by, after which there is nothing more to say.
    pub(crate) fn closed(&self) -> bool {
        self.closed
    }

    fn finish(&mut self) {
        self.closed |= self.header[0] & 0x0f == CLOSE;
        self.seen = 0;
    }

    /// What the frame carries, in bytes, once its header is complete.
    fn length(&self) -> Option<u64> {
        let header = &self.header[..self.seen];
        let second = *header.get(1)?;
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if header.len() < 2 + extended + mask {
            return None;
        }
        let length = |bytes: &[u8]| bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        Some(match extended {
            0 => u64::from(second & 0x7f),
            extended => length(&header[2..2 + extended]),
        })
    }
}

/// A Close frame with `code` and a `reason` of at most 123 bytes; with a `mask`, as clients must write theirs.
pub(crate) fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Bytes {
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    let length = u8::try_from(2 + reason.len()).unwrap_or_default();
    let mut frame = BytesMut::with_capacity(HEADER + usize::from(length));
    frame.put_u8(0x80 | CLOSE);
    frame.put_u8(if mask.is_some() { 0x80 | length } else { length });
    let mask = mask.inspect(|mask| frame.put_slice(mask)).unwrap_or_default();
    let begin = frame.len();
    frame.put_u16(code);
    frame.put_slice(reason);
    for (byte, mask) in frame[begin..].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let bit = if masked { 0x80 } else { 0 };
        match length {
            0..126 => frame.push(bit | u8::try_from(length).unwrap()),
            126..65536 => {
                frame.push(bit | 0x7e);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(bit | 0x7f);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        // What is carried looks like a Close frame.
        frame.extend(std::iter::repeat_n(0x88, length));
        frame
    }

    #[test]
    fn a_close_frame_is_seen_when_it_is_whole_and_only_where_frames_begin() {
        for masked in [false, true] {
            let mut frames = Frames::default();
            for length in [0, 1, 125, 126, 65535, 65536] {
                let text = frame(1, length, masked);
                assert_eq!(frames.advance(&text[..text.len() - 1]), text.len() - 1);
                assert!(!frames.at_boundary());
                assert_eq!(frames.advance(&[text[text.len() - 1], 0x88]), 1);
                assert!(frames.at_boundary() && !frames.closed());
            }
            let close = frame(8, 2, masked);
            frames.follow(&close[..close.len() - 1]);
            assert!(!frames.closed());
            frames.follow(&close[close.len() - 1..]);
            assert!(frames.closed() && frames.at_boundary());
        }
    }

    #[test]
    fn a_length_that_no_frame_may_have_is_waited_for() {
        let mut frames = Frames::default();
        frames.follow(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]);
        frames.follow(&[0x88; 10_000]);
        assert!(!frames.at_boundary() && !frames.closed());
    }

    #[test]
    fn our_own_frame_is_one_that_others_read() {
        assert_eq!(&close(4401, "so", None)[..], b"\x88\x04\x11\x31so");
        assert_eq!(
            &close(1001, "", Some([1, 2, 3, 4]))[..],
            &[0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]
        );
        let long = close(1001, &"x".repeat(200), Some([0; 4]));
        let mut frames = Frames::default();
        assert_eq!(frames.advance(&long), 6 + 125);
        assert!(frames.closed());
    }

    proptest! {
        #[test]
        fn boundaries_are_found_however_the_bytes_are_cut(
            lengths in prop::collection::vec((0_usize..70_000, any::<bool>()), 1..6),
            cuts in prop::collection::vec(1_usize..5_000, 1..50),
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (length, masked) in lengths {
                bytes.extend(frame(2, length, masked));
                ends.push(bytes.len());
            }
            let (mut frames, mut found, mut at) = (Frames::default(), Vec::new(), 0);
            let mut cuts = cuts.into_iter().cycle();
            while at < bytes.len() {
                let end = (at + cuts.next().unwrap()).min(bytes.len());
                while at < end {
                    at += frames.advance(&bytes[at..end]);
                    if frames.at_boundary() {
                        found.push(at);
                    }
                }
            }
            prop_assert_eq!(found, ends);
            prop_assert!(!frames.closed());
        }
    }
}
