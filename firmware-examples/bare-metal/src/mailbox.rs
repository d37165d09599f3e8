//! The mailbox to the VideoCore, which owns screen and memory: properties in, properties out.

use crate::cpu;
use crate::mmio::{MAILBOX_READ, MAILBOX_READ_STATUS, MAILBOX_WRITE, MAILBOX_WRITE_STATUS};
use static_cell::ConstStaticCell;

const PROPERTIES: u32 = 8;
const EMPTY: u32 = 1 << 30;
const FULL: u32 = 1 << 31;
const REQUEST: u32 = 0;
const SUCCESS: u32 = 1 << 31;
/// Where the VideoCore sees this processor's memory, past its own cache.
const BUS: u32 = 0xc000_0000;

/// Values of a property.
const VALUES: usize = 2;
/// Words of a property: tag, bytes of its values, a word for the answer's length, values.
const PROPERTY_WORDS: usize = 3 + VALUES;
/// Most properties of a message.
pub(crate) const PROPERTIES_MAX: usize = 6;
const WORDS: usize = 2 + PROPERTIES_MAX * PROPERTY_WORDS + 1;

/// Alone on its cache lines.
#[repr(C, align(64))]
struct Message([u32; WORDS.next_multiple_of(16)]);

static MESSAGE: ConstStaticCell<Message> = ConstStaticCell::new(Message([0; WORDS.next_multiple_of(16)]));

/// One property: its tag, and values that the answer replaces.
pub(crate) struct Property {
    pub(crate) tag: u32,
    pub(crate) values: [u32; VALUES],
}

/// Asks for all properties at once; the answer's values replace theirs. Can be called once, which is all that a screen needs.
pub(crate) fn ask(properties: &mut [Property; PROPERTIES_MAX]) -> Result<(), &'static str> {
    let message = &mut MESSAGE.take().0;
    message[0] = size_of::<Message>() as u32;
    message[1] = REQUEST;
    // The word after the last property is zero: the end.
    for (words, property) in message[2..].chunks_exact_mut(PROPERTY_WORDS).zip(properties.iter()) {
        words[0] = property.tag;
        words[1] = size_of_val(&property.values) as u32;
        words[2] = REQUEST;
        words[3..].copy_from_slice(&property.values);
    }
    cpu::flush(message);
    let request = message.as_ptr() as u32 | BUS | PROPERTIES;
    while MAILBOX_WRITE_STATUS.read() & FULL != 0 {
        cpu::relax();
    }
    MAILBOX_WRITE.write(request);
    loop {
        while MAILBOX_READ_STATUS.read() & EMPTY != 0 {
            cpu::relax();
        }
        if MAILBOX_READ.read() == request {
            break;
        }
    }
    cpu::flush(message);
    if message[1] != SUCCESS {
        return Err("the VideoCore refused the request");
    }
    for (words, property) in message[2..].chunks_exact(PROPERTY_WORDS).zip(properties) {
        property.values.copy_from_slice(&words[3..]);
    }
    Ok(())
}
