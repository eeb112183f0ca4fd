PRAGMA application_id = 1835758692;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE charges(
        order_id TEXT PRIMARY KEY,
        minor INTEGER NOT NULL,
        currency TEXT NOT NULL,
        payment_method_id TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('captured', 'declined', 'voided')),
        why TEXT,
        at INTEGER NOT NULL
    ) STRICT;
INSERT INTO "charges" VALUES('01a20686-9dda-7de4-b870-2dd1a76dbc47',1999,'USD','pm_card_visa','captured',NULL,1795405815259);
INSERT INTO "charges" VALUES('01a20686-9de5-7d3c-8db9-093ca5f24848',1999,'USD','pm_card_chargeDeclined','declined','the card was declined',1795405815269);
INSERT INTO "charges" VALUES('01a20686-9de8-79ba-8948-1dbdb96cd201',1999,'USD','pm_card_visa','captured',NULL,1795405815273);
INSERT INTO "charges" VALUES('01a20686-9dee-799a-992a-4118cd74504f',1999,'USD','pm_card_mastercard','captured',NULL,1795405815279);
INSERT INTO "charges" VALUES('01a20686-9e0c-75b3-9d0b-b4ede75eee81',1999,'USD','pm_card_refundFail','captured',NULL,1795405815309);
CREATE TABLE refunds(
        order_id TEXT PRIMARY KEY REFERENCES charges(order_id),
        outcome TEXT NOT NULL CHECK (outcome IN ('paid back', 'denied')),
        at INTEGER NOT NULL
    ) STRICT;
INSERT INTO "refunds" VALUES('01a20686-9dee-799a-992a-4118cd74504f','paid back',1795405815300);
INSERT INTO "refunds" VALUES('01a20686-9e0c-75b3-9d0b-b4ede75eee81','denied',1795405815328);
COMMIT;
