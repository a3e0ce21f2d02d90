-- SPDX-License-Identifier: Apache-2.0
-- A few of the manager's tables, filled at image build: data that only the image has.
CREATE ROLE cfyuser LOGIN;
CREATE DATABASE cloudify_db OWNER cfyuser;
\connect cloudify_db
SET ROLE cfyuser;

CREATE TABLE tenants (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE blueprints (
    id text PRIMARY KEY,
    tenant integer NOT NULL REFERENCES tenants,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE events (
    id bigserial PRIMARY KEY,
    blueprint text REFERENCES blueprints,
    message text NOT NULL
);

INSERT INTO tenants (name) VALUES ('default_tenant');
INSERT INTO blueprints (id, tenant) VALUES ('hello-world', 1), ('dcae-inventory', 1);
INSERT INTO events (blueprint, message)
    SELECT 'hello-world', 'event ' || n FROM generate_series(1, 1000) AS n;
CREATE INDEX events_by_blueprint ON events (blueprint, id);
