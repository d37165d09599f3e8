//! Pictures of requests: in `data:` addresses, or fetched by `super::remote` from hosts that the configuration allows;
//! decoded within limits of size and time.

use super::remote::{Budget, FETCH_TIME};
use super::{Context, Failure};
use crate::engine::PICTURE_CAPS;
use crate::prompt::images::{self, Images, Place};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::StatusCode;
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb, RgbImage};
use pg_runtime::pictures;
use pg_targets::camera::FrameBuffer;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// For decoding all pictures of a request.
const DECODE_TIME: Duration = Duration::from_secs(15);
/// Pictures of a request.
const MAX_PICTURES: usize = 64;

/// With or without padding: senders differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes a picture. `param` is what the sender calls it.
///
/// # Errors
/// 400 if it is no picture that is taken or it cannot be fetched, 503 if it takes too long.
pub(super) async fn decode(context: &Context, address: &str, param: &str) -> Result<FrameBuffer, Failure> {
    decode_some(context, &[address], Images::Last, param).await
}

/// Decodes the one of several pictures that is looked at, or all into a grid.
///
/// # Errors
/// As [`decode`].
pub(super) async fn decode_some(
    context: &Context,
    addresses: &[&str],
    which: Images,
    param: &str,
) -> Result<FrameBuffer, Failure> {
    if addresses.is_empty() || addresses.len() > MAX_PICTURES {
        let message = format!("expected 1 to {MAX_PICTURES} pictures, found {}", addresses.len());
        return Err(Failure::bad(param, message));
    }
    let chosen = which.pick(addresses.len()).map_or(addresses, |i| &addresses[i..=i]);
    let (files, fetching) = files(context, chosen, param).await?;
    let slow = || Failure::later("pictures take too long to decode", Duration::from_secs(5));
    let side = context.app.engine.info().res as u32;
    let param = param.to_string();
    let decoded = async {
        let place = context.decoders.clone().acquire_owned().await.map_err(|_| slow())?;
        let decoding = tokio::task::spawn_blocking(move || {
            // Held by the work itself, which goes on when nobody waits for it any more.
            let _places = (place, fetching);
            match &files[..] {
                [one] => frame(one),
                several => grid(several, side),
            }
        });
        let failed = || Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the decoder failed");
        decoding.await.map_err(|_| failed())?.map_err(|e| Failure::bad(&param, format!("the picture {e}")))
    };
    tokio::time::timeout(DECODE_TIME, decoded).await.map_err(|_| slow())?
}

/// The files of pictures, and the place that is held until they are done with if any of them was fetched.
async fn files(
    context: &Context,
    addresses: &[&str],
    param: &str,
) -> Result<(Vec<Vec<u8>>, Option<OwnedSemaphorePermit>), Failure> {
    let is_fetched = |address: &&str| {
        let scheme = address.split(':').next().unwrap_or_default();
        !context.remote.is_off() && ["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s))
    };
    if !addresses.iter().any(is_fetched) {
        let files = addresses.iter().map(|a| bytes(a, param)).collect::<Result<_, _>>()?;
        return Ok((files, None));
    }
    let later = || Failure::later("other pictures are being fetched", FETCH_TIME);
    let place = tokio::time::timeout(FETCH_TIME, context.remote.places.clone().acquire_owned());
    let place = place.await.map_err(|_| later())?.map_err(|_| later())?;
    let remote = context.remote.clone();
    let wanted: Vec<(bool, String)> = addresses.iter().map(|a| (is_fetched(a), a.to_string())).collect();
    let param = param.to_string();
    let fetching = tokio::task::spawn_blocking(move || {
        let mut budget = Budget::new();
        let file = |(is_fetched, address): &(bool, String)| match is_fetched {
            true => remote
                .fetch(address, &mut budget)
                .map_err(|e| Failure::bad(&param, format!("the picture {e}"))),
            false => bytes(address, &param),
        };
        // The place is held by the work itself, which goes on when nobody waits for it any more.
        wanted.iter().map(file).collect::<Result<_, _>>().map(|files| (files, Some(place)))
    });
    let failed = |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the picture cannot be fetched");
    fetching.await.map_err(failed)?
}

/// The bytes in a `data:` address.
fn bytes(address: &str, param: &str) -> Result<Vec<u8>, Failure> {
    let start: String = address.chars().take(32).collect();
    let Some(rest) = address.get(..5).filter(|s| s.eq_ignore_ascii_case("data:")).map(|_| &address[5..])
    else {
        return Err(Failure::bad(
            param,
            format!(
                "{start:?}… is not fetched: send the picture itself as data:image/jpeg;base64,…, or name its host in \
                 http.allow_http_images"
            ),
        ));
    };
    let Some((kind, data)) = rest.split_once(',').filter(|(kind, _)| kind.len() <= 100) else {
        return Err(Failure::bad(param, "the data: address has no comma after its type"));
    };
    let Some(kind) = kind.strip_suffix(";base64") else {
        return Err(Failure::bad(param, "the data: address must be in base64: data:image/jpeg;base64,…"));
    };
    if !matches!(kind.to_ascii_lowercase().as_str(), "image/jpeg" | "image/jpg" | "image/png" | "image/webp")
    {
        return Err(Failure::bad(
            param,
            format!("{kind:?} is not taken: send image/jpeg, image/png or image/webp"),
        ));
    }
    BASE64.decode(data.trim()).map_err(|e| Failure::bad(param, format!("the picture is no base64: {e}")))
}

fn frame(file: &[u8]) -> Result<FrameBuffer, String> {
    let picture = pictures::decode_within(file, PICTURE_CAPS)?;
    let mut frame = FrameBuffer::default();
    frame.show(&picture);
    Ok(frame)
}

/// Pictures side by side in a square as large as what the model sees.
fn grid(files: &[Vec<u8>], side: u32) -> Result<FrameBuffer, String> {
    let mut canvas = RgbImage::new(side, side);
    let mut small = Vec::new();
    for file in files {
        // Each is made as small as it may have to be before the next is decoded.
        let frame = frame(file)?;
        let size = (frame.width() as u32, frame.height() as u32);
        let longest = size.0.max(size.1);
        let image: ImageBuffer<Rgb<u8>, &[u8]> =
            ImageBuffer::from_raw(size.0, size.1, frame.data()).ok_or("lacks pixels")?;
        let scale = |v: u32| (u64::from(v) * u64::from(side.min(longest)) / u64::from(longest)).max(1) as u32;
        small.push((size, imageops::resize(&image, scale(size.0), scale(size.1), FilterType::Triangle)));
    }
    let sizes: Vec<(u32, u32)> = small.iter().map(|(size, _)| *size).collect();
    let places =
        images::grid(&sizes, side).ok_or_else(|| format!("have no room in {side} x {side} pixels"))?;
    for ((_, image), Place { x, y, width, height }) in small.iter().zip(places) {
        let fitting = imageops::resize(image, width, height, FilterType::Triangle);
        imageops::replace(&mut canvas, &fitting, x.into(), y.into());
    }
    let mut frame = FrameBuffer::default();
    frame.reset(side as usize, side as usize);
    frame.data_mut().copy_from_slice(canvas.as_raw());
    Ok(frame)
}

/// A camera's picture for people.
pub(super) fn jpeg(frame: &FrameBuffer) -> Vec<u8> {
    /// Good enough for looking at, and half the bytes of the best.
    const QUALITY: u8 = 80;
    crate::publish::encode(frame, QUALITY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, ImageEncoder};

    fn png(width: u32, height: u32, color: [u8; 3]) -> Vec<u8> {
        let image = RgbImage::from_pixel(width, height, image::Rgb(color));
        let mut frame = FrameBuffer::default();
        frame.reset(width as usize, height as usize);
        frame.data_mut().copy_from_slice(image.as_raw());
        crate::publish::encode(&frame, 95)
    }

    fn says(address: &str, words: &str) {
        let failure = bytes(address, "image_url").unwrap_err();
        assert_eq!(failure.status(), 400);
        assert!(failure.json()["error"]["message"].as_str().unwrap().contains(words), "{failure:?}");
    }

    #[test]
    fn only_pictures_in_the_request_itself_are_taken() {
        for address in [
            "http://169.254.169.254/latest",
            "https://example.com/x.png",
            "file:///etc/passwd",
            "",
            "däta:",
            "//x",
        ] {
            says(address, "is not fetched");
        }
        says("data:image/jpeg;base64", "no comma");
        says("data:image/jpeg,abc", "must be in base64");
        says("data:image/svg+xml;base64,PHN2Zz4=", "is not taken");
        says("data:image/png;base64,@@@@", "is no base64");
        assert_eq!(bytes("DATA:image/png;base64,QUI", "image_url").unwrap(), b"AB");
    }

    #[test]
    fn pictures_beyond_the_limits_are_refused_before_they_are_decoded() {
        // A PNG header that announces 40 000 x 40 000 pixels, and nothing more.
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x9c\x40\0\0\x9c\x40\x08\x02\0\0\0".to_vec();
        png.extend([0; 16]);
        assert!(frame(&png).is_err());
        assert!(frame(b"GIF89a").unwrap_err().contains("is not a PNG, JPEG or WebP picture"));
        assert!(frame(b"").is_err());
    }

    #[test]
    fn gray_and_coloured_pictures_become_rgb() {
        let mut gray = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut gray, 100)
            .write_image(&[90; 64], 8, 8, ExtendedColorType::L8)
            .unwrap();
        let decoded = frame(&gray).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (8, 8));
        assert!(decoded.data().iter().all(|v| v.abs_diff(90) <= 1), "{:?}", decoded.data());
        let decoded = frame(&png(8, 4, [200, 10, 10])).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (8, 4));
        assert!(decoded.data()[0] > 180 && decoded.data()[1] < 40);
    }

    #[test]
    fn a_grid_shows_every_picture() {
        let files = [png(40, 20, [250, 0, 0]), png(40, 20, [0, 250, 0])];
        let frame = grid(&files, 64).unwrap();
        let pixel = |x: usize, y: usize| &frame.data()[(y * 64 + x) * 3..][..3];
        assert!(pixel(32, 16)[0] > 200 && pixel(32, 16)[1] < 60);
        assert!(pixel(32, 48)[1] > 200 && pixel(32, 48)[0] < 60);
    }
}
