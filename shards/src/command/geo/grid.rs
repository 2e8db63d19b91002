//! The grid on the earth: places as numbers that are near when the places are, and the distance between two places.
//!
//! A cell of step `n` is one of `2^n` strips of longitude and one of `2^n` strips of latitude, their numbers interleaved. A
//! place is a cell of the last step, a number of 52 bits, which a score holds exactly. The arithmetic is Redis' own, to the last
//! bit: its scores, distances and orders are seen by clients.

/// Of the earth, in metres, as Redis has it.
const EARTH_RADIUS_M: f64 = 6_372_797.560856;

/// Half of the equator in the Mercator projection, in metres.
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// The finest grid.
pub(super) const STEP_MAX: u32 = 26;

/// Where the Mercator projection ends.
pub(super) const LATITUDE_MAX: f64 = 85.05112878;
pub(super) const LONGITUDE_MAX: f64 = 180.0;

/// Even bits: latitude. Odd ones: longitude.
const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;
const LONGITUDE_BITS: u64 = !LATITUDE_BITS;

/// Degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

/// One cell of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    bits: u64,
    step: u32,
}

/// What a cell covers, in degrees: west, south, east, north.
#[derive(Clone, Copy, Debug)]
struct Area {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

/// Every second bit of a word for each bit of a number.
fn spread(number: u32) -> u64 {
    let mut word = u64::from(number);
    for (shift, mask) in [
        (16, 0x0000_FFFF_0000_FFFF),
        (8, 0x00FF_00FF_00FF_00FF),
        (4, 0x0F0F_0F0F_0F0F_0F0F),
        (2, 0x3333_3333_3333_3333),
        (1, LATITUDE_BITS),
    ] {
        word = (word | word << shift) & mask;
    }
    word
}

/// The inverse.
fn gather(word: u64) -> u32 {
    let mut word = word & LATITUDE_BITS;
    for (shift, mask) in
        [(1, 0x3333_3333_3333_3333), (2, 0x0F0F_0F0F_0F0F_0F0F), (4, 0x00FF_00FF_00FF_00FF), (8, 0x0000_FFFF_0000_FFFF), (16, 0xFFFF_FFFF)]
    {
        word = (word | word >> shift) & mask;
    }
    // The last mask leaves 32 bits.
    word as u32
}

impl Cell {
    /// The cell of a place, on a grid whose latitudes end at `latitude_max`.
    pub(super) fn of(place: Place, step: u32, latitude_max: f64) -> Cell {
        let strips = (1u64 << step) as f64;
        let latitude = (place.latitude + latitude_max) / (latitude_max * 2.0) * strips;
        let longitude = (place.longitude + LONGITUDE_MAX) / (LONGITUDE_MAX * 2.0) * strips;
        // Whole strips; the northern and the eastern end are a strip of their own.
        Cell { bits: spread(latitude as u32) | spread(longitude as u32) << 1, step }
    }

    /// The cell that a score means. What is no cell comes out as some place.
    pub(super) fn of_score(score: f64) -> Cell {
        Cell { bits: score as u64, step: STEP_MAX }
    }

    /// Its number.
    pub(super) fn bits(self) -> u64 {
        self.bits
    }

    /// The scores of the places in it: from the one on, up to the other, that one not included.
    pub(super) fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEP_MAX - self.step);
        // 52 bits fit a score exactly.
        ((self.bits << shift) as f64, ((self.bits + 1) << shift) as f64)
    }

    fn area(self) -> Area {
        let strips = (1u64 << self.step) as f64;
        let edge = |strip: f64, max: f64| -max + strip / strips * (max * 2.0);
        let (latitude, longitude) = (f64::from(gather(self.bits)), f64::from(gather(self.bits >> 1)));
        Area {
            west: edge(longitude, LONGITUDE_MAX),
            east: edge(longitude + 1.0, LONGITUDE_MAX),
            south: edge(latitude, LATITUDE_MAX),
            north: edge(latitude + 1.0, LATITUDE_MAX),
        }
    }

    /// Its middle.
    pub(super) fn place(self) -> Place {
        let area = self.area();
        Place {
            longitude: ((area.west + area.east) / 2.0).clamp(-LONGITUDE_MAX, LONGITUDE_MAX),
            latitude: ((area.south + area.north) / 2.0).clamp(-LATITUDE_MAX, LATITUDE_MAX),
        }
    }

    /// The cell so many strips to the east and to the north, round the grid's end.
    fn moved(self, east: i64, north: i64) -> Cell {
        let all = u64::MAX >> (64 - self.step * 2);
        let along = |bits: u64, own: u64, by: i64| {
            let (own, others) = (own & all, !own & all);
            let bits = bits & own;
            match by {
                1 => bits.wrapping_add(others + 1) & own,
                -1 => (bits | others).wrapping_sub(others + 1) & own,
                _ => bits,
            }
        };
        Cell { bits: along(self.bits, LONGITUDE_BITS, east) | along(self.bits, LATITUDE_BITS, north), ..self }
    }
}

/// What is searched around a place, in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

impl Shape {
    /// How far away a place is, if it is inside.
    pub(super) fn distance(self, center: Place, place: Place) -> Option<f64> {
        match self {
            Shape::Circle { radius } => Some(distance(center, place)).filter(|distance| *distance <= radius),
            Shape::Box { width, height } => {
                let beside = Place { longitude: center.longitude, ..place };
                let inside = latitude_distance(place.latitude, center.latitude) <= height / 2.0 && distance(place, beside) <= width / 2.0;
                inside.then(|| distance(center, place))
            }
        }
    }

    /// The bounds of what it covers around a place.
    fn bounds(self, center: Place) -> Area {
        let (width, height) = match self {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let north = degrees(height / EARTH_RADIUS_M);
        let at = |latitude: f64| degrees(width / EARTH_RADIUS_M / radians(latitude).cos());
        let east = if center.latitude < 0.0 { at(center.latitude - north) } else { at(center.latitude + north) };
        Area {
            west: center.longitude - east,
            east: center.longitude + east,
            south: center.latitude - north,
            north: center.latitude + north,
        }
    }

    /// The cells that cover it, in the order in which they are searched. Neighbours may be the same on a coarse grid.
    pub(super) fn cells(self, center: Place) -> Vec<Cell> {
        let bounds = self.bounds(center);
        let reach = match self {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt(),
        };
        let mut step = step_for(reach, center.latitude);
        let mut cell = Cell::of(center, step, LATITUDE_MAX);
        // Near an edge of the cell, one of its neighbours may end too early.
        let too_fine = cell.moved(0, 1).area().north < bounds.north
            || cell.moved(0, -1).area().south > bounds.south
            || cell.moved(1, 0).area().east < bounds.east
            || cell.moved(-1, 0).area().west > bounds.west;
        if step > 1 && too_fine {
            step -= 1;
            cell = Cell::of(center, step, LATITUDE_MAX);
        }
        let area = cell.area();
        let needed = |east: i64, north: i64| {
            step < 2
                || !((area.south < bounds.south && north < 0)
                    || (area.north > bounds.north && north > 0)
                    || (area.west < bounds.west && east < 0)
                    || (area.east > bounds.east && east > 0))
        };
        const AROUND: [(i64, i64); 8] = [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let neighbours = AROUND.into_iter().filter(|(east, north)| needed(*east, *north)).map(|(east, north)| cell.moved(east, north));
        std::iter::once(cell).chain(neighbours).collect()
    }
}

/// The finest grid of which a cell and its neighbours cover what is so far away.
fn step_for(mut reach: f64, latitude: f64) -> u32 {
    if reach == 0.0 {
        return STEP_MAX;
    }
    let mut step: i32 = 1;
    while reach < MERCATOR_MAX_M {
        reach *= 2.0;
        step += 1;
    }
    // Cells are narrower towards the poles.
    step -= 2 + i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
    step.clamp(1, STEP_MAX as i32).unsigned_abs()
}

fn radians(degrees: f64) -> f64 {
    degrees * (std::f64::consts::PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (std::f64::consts::PI / 180.0)
}

fn latitude_distance(from: f64, to: f64) -> f64 {
    EARTH_RADIUS_M * (radians(to) - radians(from)).abs()
}

/// Metres between two places on a sphere (haversine).
pub(super) fn distance(from: Place, to: Place) -> f64 {
    let across = ((radians(to.longitude) - radians(from.longitude)) / 2.0).sin();
    if across == 0.0 {
        return latitude_distance(from.latitude, to.latitude);
    }
    let (latitude, other) = (radians(from.latitude), radians(to.latitude));
    let along = ((other - latitude) / 2.0).sin();
    2.0 * EARTH_RADIUS_M * (along * along + latitude.cos() * other.cos() * across * across).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_place_is_in_its_cell(longitude in -180.0..180.0f64, latitude in -85.05..85.05f64, step in 1..=STEP_MAX) {
            let place = Place { longitude, latitude };
            let cell = Cell::of(place, step, LATITUDE_MAX);
            let area = cell.area();
            prop_assert!(area.west <= longitude && longitude <= area.east && area.south <= latitude && latitude <= area.north);
            let finest = Cell::of(place, STEP_MAX, LATITUDE_MAX);
            let (low, high) = cell.scores();
            prop_assert!((low..high).contains(&(finest.bits() as f64)));
            prop_assert_eq!(Cell::of(finest.place(), STEP_MAX, LATITUDE_MAX), finest);
            for (east, north) in [(1, 0), (0, 1), (1, 1), (1, -1)] {
                prop_assert_eq!(cell.moved(east, north).moved(-east, -north), cell);
            }
        }

        #[test]
        fn what_is_inside_is_in_the_cells(
            longitude in -150.0..150.0f64, latitude in -70.0..70.0f64, reach in 1.0..200_000.0f64, east in -1.0..1.0f64, north in -1.0..1.0f64
        ) {
            let center = Place { longitude, latitude };
            for shape in [Shape::Circle { radius: reach }, Shape::Box { width: reach, height: reach / 2.0 }] {
                let bounds = shape.bounds(center);
                let place = Place {
                    longitude: longitude + (bounds.east - longitude) * east,
                    latitude: latitude + (bounds.north - latitude) * north,
                };
                if shape.distance(center, place).is_some() {
                    let score = Cell::of(place, STEP_MAX, LATITUDE_MAX).bits() as f64;
                    prop_assert!(shape.cells(center).iter().any(|cell| (cell.scores().0..cell.scores().1).contains(&score)));
                }
            }
        }
    }
}
