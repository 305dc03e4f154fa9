// An application in TypeScript that uses what `daybreak models` has written, and says what holds.
import pg from 'pg';
import * as db from './daybreak.js';

const client = new pg.Client({ connectionString: process.env.URL });
await client.connect();

const row: db.Shop2ClassInsert = {
  class: 'a', big: 2n ** 60n, cost: '12.50', level: 'very high', kind: db.Shop2ClassKind.another, moods: ['fine', 'so, so'],
  metadata: { a: [1] }, days: ['2025-03-01'], amounts: ['1.5'], picture: Buffer.from([0, 255]), spans: '1 day',
  "it's \"odd\" */ --": 'g',
};
const names = Object.keys(row);
const quoted = names.map((name) => client.escapeIdentifier(name)).join(', ');
const places = names.map((_, i) => `$${i + 1}`).join(', ');
const { rows: [found] } = await client.query<db.Shop2Class>(
  `INSERT INTO "shop-2".class (${quoted}) VALUES (${places}) RETURNING *`, Object.values(row));

const checks: [string, boolean][] = [
  ['bigint', typeof (found!.big satisfies string) === 'string' && found!.big === String(2n ** 60n)],
  ['numeric', typeof (found!.cost satisfies string) === 'string'],
  ['generated', typeof (found!.twice satisfies string | null) === 'string'],
  ['integer', typeof (found!.int satisfies number) === 'number'],
  ['timestamptz', (found!.at satisfies Date) instanceof Date],
  ['dates', (found!.days satisfies Date[] | null)![0] instanceof Date],
  ['numerics', typeof (found!.amounts satisfies number[] | null)![0] === 'number'],
  ['bytea', Buffer.isBuffer(found!.picture satisfies Buffer | null)],
  ['interval', (found!.spans satisfies db.Interval | null)!.days === 1],
  ['json', JSON.stringify(found!.metadata satisfies unknown) === '{"a":[1]}'],
  ['enums', typeof (found!.moods satisfies string | null) === 'string'],
  ['code', (found!.kind satisfies 1 | 2 | null) === db.Shop2ClassKind.another],
  ['text code', (found!.level satisfies 'low' | 'very high') === 'very high'],
  ['enum', (found!.mood satisfies 'fine' | 'so, so' | "it's \"bad\"") === 'fine'],
];

await client.query('BEGIN');
await client.query("SELECT set_config('daybreak.encryption_key', $1, true)", [process.env.KEY]);
const person: db.PatientsAndGuardiansInsert = { role: 1, first_name: 'Any', birthdate: '1980-02-29' };
const { rows: [made] } = await client.query<Pick<db.PatientsAndGuardians, 'id'>>(
  'INSERT INTO patients_and_guardians (role, first_name, birthdate) VALUES ($1, $2, $3) RETURNING id',
  [person.role, person.first_name, person.birthdate]);
const { rows: [seen] } = await client.query<db.Database['app.patients_and_guardians']['row']>(
  'SELECT * FROM app.patients_and_guardians WHERE id = $1', [made!.id]);
checks.push(['sealed', (seen!.first_name satisfies string | null) === 'Any' && (seen!.birthdate satisfies Date | null) instanceof Date]);
await client.query('ROLLBACK');
await client.end();

// @ts-expect-error sealed columns are read through the view
type Sealed = db.PatientsAndGuardians['first_name'];
// @ts-expect-error the database makes it
const generated: db.Shop2ClassInsert = { ...row, twice: '1' };
// @ts-expect-error a code that the database refuses
const code: db.KinshipsUser0Label = 3;
// @ts-expect-error required
const incomplete: db.Shop2ClassInsert = { class: 'a' };
// @ts-expect-error an array has to be written as text, or pg makes an array of PostgreSQL of it
const list: db.JsonInput = [1];

for (const [what, holds] of checks) console.log(`${what}: ${holds}`);
