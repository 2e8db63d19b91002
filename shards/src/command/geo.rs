//! Places on the earth: a sorted set whose scores are cells of a fine grid (`grid`). Searches are in `search`.

mod grid;
pub mod search;

use super::sorted_sets::{AddOptions, put_scored};
use super::{Call, texts};
use crate::shard::Shard;
use crate::wire::Proto;
use grid::{Cell, LATITUDE_MAX, LONGITUDE_MAX, Place, STEP_MAX};

/// Metres in a unit's name, in any case.
const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];

impl Call<'_, '_> {
    /// The place at arguments `index` and the next. Answers the error and gives `None` if it is none.
    fn place_at(&mut self, index: usize) -> Option<Place> {
        let longitude = self.fraction_at(index, texts::NOT_FLOAT)?;
        let latitude = self.fraction_at(index + 1, texts::NOT_FLOAT)?;
        if longitude.abs() > LONGITUDE_MAX || latitude.abs() > LATITUDE_MAX {
            self.reply.error(&format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"));
            return None;
        }
        Some(Place { longitude, latitude })
    }

    /// How many metres the unit at argument `index` has. Answers the error and gives `None` if it is none.
    fn unit_at(&mut self, index: usize) -> Option<f64> {
        let unit = UNITS.into_iter().find(|(name, _)| self.arg_is(index, name)).map(|(_, metres)| metres);
        if unit.is_none() {
            self.reply.error("ERR unsupported unit provided. please use M, KM, FT, MI");
        }
        unit
    }

    /// A distance, to a tenth of a millimetre in metres.
    fn distance(&mut self, distance: f64) {
        self.reply.bulk(format!("{distance:.4}").as_bytes());
    }

    /// A place as its two coordinates.
    fn coordinates(&mut self, place: Place) {
        self.reply.array(2);
        for degrees in [place.longitude, place.latitude] {
            let text = format!("{degrees:.17}");
            let text = text.trim_end_matches('0').trim_end_matches('.');
            match self.reply.proto() {
                Proto::Resp2 => self.reply.bulk(text.as_bytes()),
                Proto::Resp3 => self.reply.raw(format!(",{text}\r\n").as_bytes()),
            }
        }
    }
}

/// `GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]`
pub fn geoadd(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let mut options = AddOptions::default();
    let mut index = 2;
    while index < call.args.len() {
        let option = match () {
            () if call.arg_is(index, "NX") => &mut options.only_new,
            () if call.arg_is(index, "XX") => &mut options.only_there,
            () if call.arg_is(index, "CH") => &mut options.count_changed,
            () => break,
        };
        *option = true;
        index += 1;
    }
    let words = call.args.len() - index;
    if words == 0 || !words.is_multiple_of(3) || (options.only_new && options.only_there) {
        return call.reply.error(texts::SYNTAX);
    }
    let mut scored = Vec::with_capacity(words / 3);
    for index in (index..call.args.len()).step_by(3) {
        let Some(place) = call.place_at(index) else { return };
        scored.push((Cell::of(place, STEP_MAX, LATITUDE_MAX).bits() as f64, call.args.get(index + 2)));
    }
    put_scored(shard, call, &options, &scored);
}

/// `GEODIST key member1 member2 [M | KM | FT | MI]`
pub fn geodist(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let unit = match call.args.len() {
        4 => Some(1.0),
        5 => call.unit_at(4),
        _ => return call.reply.error(texts::SYNTAX),
    };
    let Some(unit) = unit else { return };
    let Ok(set) = call.sorted_set(shard) else { return };
    let places = [2, 3].map(|index| set.and_then(|set| set.score(call.args.get(index))).map(|score| Cell::of_score(score).place()));
    match places {
        [Some(from), Some(to)] => call.distance(grid::distance(from, to) / unit),
        _ => call.reply.null(),
    }
}

/// `GEOPOS key [member ...]`
pub fn geopos(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Ok(set) = call.sorted_set(shard) else { return };
    call.reply.array(call.args.len() - 2);
    for member in call.args.iter_from(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => call.coordinates(Cell::of_score(score).place()),
            None => call.reply.null_array(),
        }
    }
}

/// `GEOHASH key [member ...]`
pub fn geohash(shard: &mut Shard, call: &mut Call<'_, '_>) {
    let Ok(set) = call.sorted_set(shard) else { return };
    call.reply.array(call.args.len() - 2);
    for member in call.args.iter_from(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => call.reply.bulk(&letters(Cell::of_score(score))),
            None => call.reply.null(),
        }
    }
}

/// The eleven letters by which the rest of the world knows a cell. Theirs is a grid up to the poles; the last letter has too few
/// bits here and is always a zero.
fn letters(cell: Cell) -> [u8; 11] {
    const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
    let bits = Cell::of(cell.place(), STEP_MAX, 90.0).bits();
    let mut letters = [ALPHABET[0]; 11];
    for (index, letter) in letters[..10].iter_mut().enumerate() {
        *letter = ALPHABET[(bits >> (52 - 5 * (index + 1))) as usize % ALPHABET.len()];
    }
    letters
}
